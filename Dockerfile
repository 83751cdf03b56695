# The gateway alone on a base without shell or package manager, as an unprivileged user.
#
# The same commit gives the same image: the bases have digests, nothing is installed, the crates are those
# of the lock file, and no file has the time of the build. deploy/release/image builds it so.

FROM rust:1.95.0-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src

# The dependencies alone, with empty crates: a layer that changes only with the lock file.
COPY .cargo .cargo
COPY deploy/release/binary deploy/release/llvm-args deploy/release/sluice.profdata deploy/release/
COPY Cargo.toml Cargo.lock ./
COPY crates/bedrock/Cargo.toml crates/bedrock/
COPY crates/bridge/Cargo.toml crates/bridge/
COPY crates/catalogue/Cargo.toml crates/catalogue/
COPY crates/config/Cargo.toml crates/config/
COPY crates/simulator/Cargo.toml crates/simulator/
RUN mkdir src benches crates/bedrock/src crates/bridge/benches crates/bridge/src crates/catalogue/src crates/config/src crates/simulator/src \
    && touch src/lib.rs crates/bedrock/src/lib.rs crates/bridge/benches/translate.rs crates/bridge/src/lib.rs crates/catalogue/src/lib.rs crates/config/src/lib.rs crates/simulator/src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | while read -r name; do \
         echo 'fn main() {}' > "benches/$name.rs"; done \
    && deploy/release/binary \
    && rm -rf src benches crates

COPY . .
# The build of the empty crates is newer than the sources that were copied.
RUN touch src/lib.rs src/main.rs crates/*/src/lib.rs \
    && deploy/release/binary \
    && mkdir -m 0700 /state

# The manual pages and the completions, in the folders where a system looks for them.
RUN mkdir -p /share/bash-completion/completions /share/zsh/site-functions /share/fish/vendor_completions.d \
    && target/dist/sluice man --dir /share/man/man1 \
    && target/dist/sluice completions bash > /share/bash-completion/completions/sluice \
    && target/dist/sluice completions zsh > /share/zsh/site-functions/_sluice \
    && target/dist/sluice completions fish > /share/fish/vendor_completions.d/sluice.fish

# What the image has of this stage gets one time and the usual modes.
ARG SOURCE_DATE_EPOCH=0
RUN chmod 0755 target/dist/sluice \
    && chmod -R u=rwX,go=rX /share \
    && chmod 0644 config.toml examples/legacy.toml \
    && find /share /state target/dist/sluice config.toml examples/legacy.toml \
         -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f
COPY --from=build /src/target/dist/sluice /usr/local/bin/sluice
COPY --from=build /share /usr/local/share
COPY --from=build /src/config.toml /src/examples/legacy.toml /etc/sluice/
# The only folder that the gateway writes to: for the admin key and SQLite files.
COPY --from=build --chown=65532:65532 /state /var/lib/sluice
VOLUME /var/lib/sluice
# A platform that gives variables only names another file by SLUICE_CONFIG, or none: /dev/null.
# The second address serves health and metrics to everyone, and the rest to callers with the admin key.
ENV SLUICE_CONFIG=/etc/sluice/config.toml \
    SLUICE__SERVER__LISTEN=0.0.0.0:8080 \
    SLUICE__SERVER__ADMIN_LISTEN=0.0.0.0:9090 \
    SLUICE__SERVER__ADMIN_KEY_FILE=/var/lib/sluice/admin-key \
    SLUICE__SERVER__OPEN_METRICS=true
EXPOSE 8080 9090
# The rest of the file system may be read-only. The gateway takes SIGTERM as the first process.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/sluice", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/sluice"]
CMD ["serve"]
