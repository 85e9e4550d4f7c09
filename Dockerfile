# syntax=docker/dockerfile:1

FROM rust:1.95.0-slim-bookworm AS build
# librdkafka is built with make and g++; zlib and SQLite come with their crates.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make \
 && rm -rf /var/lib/apt/lists/*
# As it is in the image, without the components for development that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --package balcony \
 && cp target/dist/balcony /usr/local/bin/

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 balcony \
 && install --directory --owner=balcony /data
COPY --from=build /usr/local/bin/balcony /usr/local/bin/
USER balcony
# Without a command: everything in one process, its log and read models in /data.
ENV LISTEN=0.0.0.0:8080 DATA_DIR=/data
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["balcony"]
