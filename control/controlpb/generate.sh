#!/bin/sh
# Rebuilds the generated files from control.proto. It needs protoc (Debian:
# protobuf-compiler); the plugins are the tools that go.mod pins.
set -eu
cd "$(dirname "$0")"
command -v protoc >/dev/null || { echo "generate.sh: protoc is missing: apt install protobuf-compiler" >&2; exit 1; }
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
go build -o "$plugins/" google.golang.org/protobuf/cmd/protoc-gen-go
PATH="$plugins:$PATH" protoc --proto_path=. \
	--go_out=. --go_opt=paths=source_relative \
	control.proto
