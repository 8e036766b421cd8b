# syntax=docker/dockerfile:1

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=devel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    mkdir -p /out/data && \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.buildVersion=${VERSION}" -o /out/usher ./cmd/usher

# For Fly alone: `fly deploy` builds this stage (fly.toml, build-target). A fresh Fly volume belongs to root, and a
# distroless image has no shell to change that, so Usher is root here: in a virtual machine of its own, in which
# nothing else runs. Everywhere else use the last stage.
FROM gcr.io/distroless/static AS fly
COPY --from=build /out/usher /usher
ENV DATABASE_URL=sqlite:///data/usher.db
EXPOSE 8080
ENTRYPOINT ["/usher"]
CMD ["serve"]

# The default. Usher writes below /data only, so that it runs with --read-only too.
FROM gcr.io/distroless/static:nonroot AS usher
COPY --from=build /out/usher /usher
# A new named volume takes this folder's owner. A folder of the host that is mounted here must belong to 65532.
COPY --from=build --chown=65532:65532 /out/data /data
ENV DATABASE_URL=sqlite:///data/usher.db
VOLUME /data
EXPOSE 8080
USER 65532:65532
ENTRYPOINT ["/usher"]
CMD ["serve"]
