# One image from server to boot: the agent, the boot loaders and the hello image are made while it is built, so a container
# without a mirror in reach serves a machine at its first start.
FROM debian:trixie-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends nodejs npm ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /muster
COPY package.json package-lock.json ./
RUN npm ci --omit=dev
COPY muster ./
COPY src ./src
COPY boot-scripts ./boot-scripts
COPY images ./images
COPY docs ./docs
RUN ./muster agent fetch --set cache=/muster/cache

FROM debian:trixie-slim
RUN useradd --system --home-dir /var/lib/muster --create-home muster
COPY --from=build /muster /opt/muster
ENV MUSTER_DATA=/var/lib/muster/data MUSTER_CACHE=/opt/muster/cache MUSTER_ADMIN_HOST=0.0.0.0
USER muster
VOLUME /var/lib/muster
# TFTP needs --cap-add NET_BIND_SERVICE or --sysctl net.ipv4.ip_unprivileged_port_start=69, and a published port per transfer:
# use --network host.
EXPOSE 69/udp 8080 8443 9443
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/opt/muster/muster", "status"]
ENTRYPOINT ["/opt/muster/muster"]
CMD ["serve"]
