#!/bin/sh
# The build steps of the image, also run by tests/test_container.py: docker/install.sh dependencies|headgate PREFIX
# PREFIX becomes a virtual environment that holds the hash-locked dependencies and Headgate, and neither pip nor
# anything else that is not needed to run. Run from the top of the source.
set -eu
step=$1 prefix=$2
python=${PYTHON:-python3}
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }

case $step in
dependencies)
    "$python" -m venv --without-pip "$prefix"
    pip --python "$prefix/bin/python" install --no-compile --only-binary :all: --require-hashes \
        -r requirements/base.lock
    ;;
headgate)
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    "$python" -m venv --without-pip "$build/tools"
    pip --python "$build/tools/bin/python" install --require-hashes -r requirements/build.lock
    "$build/tools/bin/python" -m hatchling build -t wheel -d "$build" >&2
    pip --python "$prefix/bin/python" install --no-compile --no-deps --no-index "$build"/headgate-*.whl
    # Compiled here, as root: the user who runs it may not write into the package.
    "$prefix/bin/python" -m compileall -q "$prefix/lib"
    ;;
*)
    echo "docker/install.sh: unknown step $step; known: dependencies, headgate" >&2
    exit 2
    ;;
esac
