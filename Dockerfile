# walarc in a container. Mount the store at /var/lib/walarc and a configuration at
# /etc/walarc/walarc.toml; without one it keeps everything below /var/lib/walarc/walarc-data and
# listens to the container alone.

FROM node:24.21.0-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY bin bin
COPY src src
RUN npm run build

FROM node:24.21.0-bookworm-slim
RUN groupadd --system --gid 970 walarc \
 && useradd --system --uid 970 --gid 970 --home-dir /var/lib/walarc --shell /usr/sbin/nologin walarc \
 && install -d -o walarc -g walarc -m 0700 /var/lib/walarc \
 && install -d -o walarc -g walarc -m 0750 /run/walarc
# The build is complete in itself: no packages, and nothing the daemon could change.
COPY LICENSE /opt/walarc/
COPY bin/walarc /opt/walarc/bin/walarc
COPY --from=build /build/dist /opt/walarc/dist
RUN ln -s /opt/walarc/bin/walarc /usr/local/bin/walarc

USER walarc
WORKDIR /var/lib/walarc
VOLUME /var/lib/walarc
EXPOSE 8417
# /healthz is open to everybody. Replace this where server.listen has another port.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8417/healthz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# Above server.shutdown_grace: stop with `docker stop --time 30`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["walarc"]
CMD ["serve"]
