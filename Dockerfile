# syntax=docker/dockerfile:1
# The gateway alone on a base without shell or package manager, as an unprivileged user.

FROM rust:1.95-bookworm AS build
# The cryptography library is C and assembly.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake clang \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# The dependencies alone, with an empty crate: a layer that changes only with the lock file.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | while read -r name; do \
         echo 'fn main() {}' > "benches/$name.rs"; done \
    && cargo build --release --locked --bin sluice \
    && rm -rf src benches

COPY . .
# The empty crate's build is newer than the sources that were copied.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin sluice

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/sluice /usr/local/bin/sluice
COPY --from=build /src/config.toml /etc/sluice/config.toml
# Without an admin key, health and metrics are all that the second one tells.
ENV SLUICE__SERVER__LISTEN=0.0.0.0:8080 \
    SLUICE__SERVER__ADMIN_LISTEN=0.0.0.0:9090 \
    SLUICE__SERVER__OPEN_METRICS=true
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/sluice", "healthcheck", "--config", "/etc/sluice/config.toml"]
ENTRYPOINT ["/usr/local/bin/sluice"]
CMD ["serve", "--config", "/etc/sluice/config.toml"]
