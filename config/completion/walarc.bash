# Completion of walarc's commands for bash: install it as
# /usr/share/bash-completion/completions/walarc. For zsh: autoload bashcompinit && bashcompinit first.

_walarc() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
  local command=${COMP_WORDS[1]} local_options='--help --verbose' words=
  local client="--server --cluster --token-file --ca-file --cert-file --key-file --timeout --config
    $local_options"
  COMPREPLY=()

  case $before in
    --config | --*-file)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --spool)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
    --on-error)
      mapfile -t COMPREPLY < <(compgen -W 'auto stop continue' -- "$word")
      return
      ;;
    --server | --cluster | --timeout | --prefetch | --look-ahead | --standby | --from | --until) return ;;
  esac

  if ((COMP_CWORD == 1)); then
    words='serve push fetch cleanup status ls standby hold prune import token check-config help
      --help --version'
  else
    case $command in
      serve) words="--config $local_options" ;;
      push) words="--spool --look-ahead $client" ;;
      fetch) words="--on-error --prefetch $client" ;;
      cleanup) words="--standby $client" ;;
      status | ls) words="--json $client" ;;
      standby) words="ls forget --json $client" ;;
      hold) words="add ls rm --from --until --json $client" ;;
      prune) words="--dry-run --json $client" ;;
      import) words="--json $client" ;;
      token | check-config) words="--json $local_options" ;;
      help) words='serve push fetch cleanup status ls standby hold prune import token check-config' ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  if [[ ${#COMPREPLY[@]} -eq 0 && $word != -* ]]; then
    case $command in
      push | import | check-config) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
    esac
  fi
}

complete -o filenames -F _walarc walarc
