# walarc in a container: docs/deployment.md. The store is a volume at /var/lib/walarc; everything
# else may be read-only, with a tmpfs of user 970 at /run/walarc for the socket.
#
# For a build that can be repeated byte by byte give the base by its digest:
#     docker build --build-arg BASE=node@sha256:… .
ARG BASE=node:24.21.0-bookworm-slim
ARG POSTGRES=postgres:17.6-bookworm

FROM ${BASE} AS build
WORKDIR /build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY bin bin
COPY src src
RUN npm run build

# A database server with walarc's commands: docker build --target postgres .
FROM ${POSTGRES} AS postgres
COPY bin/walarc /opt/walarc/bin/walarc
COPY --from=build /build/dist/walarc-client /build/dist/walarc-call /opt/walarc/dist/
RUN ln -s /opt/walarc/bin/walarc /usr/local/bin/walarc && walarc --version

FROM ${BASE} AS walarc
RUN groupadd --system --gid 970 walarc \
 && useradd --system --uid 970 --gid 970 --home-dir /var/lib/walarc --shell /usr/sbin/nologin walarc \
 && install -d -o walarc -g walarc -m 0700 /var/lib/walarc \
 && install -d -o walarc -g walarc -m 0750 /run/walarc
# The build is complete in itself: no packages, and nothing the daemon could change.
COPY LICENSE /opt/walarc/LICENSE
COPY bin/walarc /opt/walarc/bin/walarc
COPY --from=build /build/dist /opt/walarc/dist
COPY config/container.toml /etc/walarc/walarc.toml
RUN ln -s /opt/walarc/bin/walarc /usr/local/bin/walarc && walarc check-config /etc/walarc/walarc.toml

USER 970:970
WORKDIR /var/lib/walarc
VOLUME /var/lib/walarc
EXPOSE 8417
# Over the socket, so that it does not matter what TCP asks for. As for systemd's watchdog: only
# whether the daemon answers. Whether it can store is for monitoring (/readyz).
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["node", "-e", "require('http').get({ socketPath: '/run/walarc/walarc.sock', path: '/healthz', timeout: 4000 }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('timeout', () => process.exit(1)).on('error', () => process.exit(1))"]
# It ends what is under way within server.shutdown_grace (20 s): stop with --time 30.
STOPSIGNAL SIGTERM
ENTRYPOINT ["walarc"]
CMD ["serve", "--config", "/etc/walarc/walarc.toml"]
