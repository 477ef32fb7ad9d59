#!/bin/sh
# Writes requirements/*.lock from pyproject.toml. Versions stay as they are unless `sh scripts/locks.sh --upgrade`.
set -eu
cd "$(dirname "$0")/.."
export UV_CUSTOM_COMPILE_COMMAND="make locks"
compile() {
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --python-platform linux "$@"
}
compile pyproject.toml "$@" -o requirements/base.lock
compile --group build "$@" -o requirements/build.lock
compile pyproject.toml --extra models -c requirements/base.lock -c requirements/build.lock "$@" -o requirements/models.lock
compile pyproject.toml --extra models --extra convert --extra codings --group dev --group build -c requirements/models.lock -c requirements/build.lock "$@" -o requirements/dev.lock
compile --group openai-2 "$@" -o requirements/openai-2.lock
