# syntax=docker/dockerfile:1

# The builder's Debian must not be newer than the final stage's, or the binary asks for a glibc that is not there.
ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-bookworm AS build
WORKDIR /src
COPY . .
# The cache mounts keep the downloaded and the compiled dependencies between builds. Without `touch`, a source file
# whose time is older than the cached build would not be compiled again, and the image would hold yesterday's code.
# `demo` is left out: a service that acts on production carries no simulated cluster.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --no-default-features --bin ripcord \
    && install -D target/release/ripcord /out/ripcord

# glibc, libgcc and a bundle of certificates; no shell and no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ripcord" \
      org.opencontainers.image.description="Pulls a bad Kubernetes release back when Alertmanager says so, proves it, and tells Slack why" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY LICENSE /usr/share/doc/ripcord/LICENSE
COPY --from=build /out/ripcord /usr/local/bin/ripcord
# By number: the kubelet cannot check `runAsNonRoot` against a name.
USER 65532:65532
EXPOSE 8080
# Settings and policy are not in the image: they are mounted at /etc/ripcord.
ENV RIPCORD_SETTINGS=/etc/ripcord/ripcord.yaml \
    RIPCORD_POLICY=/etc/ripcord/rollbacks.yaml
ENTRYPOINT ["/usr/local/bin/ripcord"]
CMD ["serve"]
