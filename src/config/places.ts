/** Where daemon and clients meet when nobody says otherwise. */
export const DEFAULT_CONFIG_FILE = "/etc/walarc/walarc.toml";
export const DEFAULT_SOCKET = "/run/walarc/walarc.sock";
export const DEFAULT_LISTEN = "127.0.0.1:8417";
export const DEFAULT_CLUSTER = "main";
