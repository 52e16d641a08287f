# A Temporal worker with the plugin, in an image with nothing else in it: no shell, no package manager, no root.
#
#   docker build -f docker/worker.Dockerfile -t my-worker .
#
# For a worker of yours, copy this file and worker.Dockerfile.dockerignore into your module, and name its package:
#
#   docker build -f worker.Dockerfile --build-arg PACKAGE=./cmd/worker -t my-worker .

FROM --platform=$BUILDPLATFORM golang:1.26.8-alpine3.24 AS build
ARG PACKAGE=./samples/translate
# Build tags. no_embedded_temporal leaves the Temporal server out of this repository's samples.
ARG TAGS=no_embedded_temporal
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY . .
# Both caches outlive the layer: what was downloaded and compiled once is not again, whatever file has changed.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags="-s -w" -tags="$TAGS" -o /out/worker $PACKAGE

# CA certificates and time zones, and the user nonroot.
FROM gcr.io/distroless/static-debian12:nonroot@sha256:d093aa3e30dbadd3efe1310db061a14da60299baff8450a17fe0ccc514a16639
COPY --from=build /out/worker /worker
USER 65532:65532
# As a list: the worker gets SIGTERM itself, stops in order and hands its tasks over. Give it the time for that
# (Options.DrainTimeout, 6 s, a lease and WorkerStopTimeout, 26 s by default: give it 30 s); Docker kills after 10 s.
ENTRYPOINT ["/worker"]
