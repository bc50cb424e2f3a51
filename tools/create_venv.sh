#!/bin/sh
# Create the virtual environment FOLDER with PYTHON, or with the first Python >= 3.11 on the path.
# Usage: create_venv.sh FOLDER [PYTHON]
set -eu

folder=$1
candidates=${2:-"python3 python3.14 python3.13 python3.12 python3.11"}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python=
for candidate in $candidates; do
    if is_new_enough "$candidate"; then
        python=$candidate
        break
    fi
done

if [ -z "$python" ]; then
    first=${candidates%% *}
    found="no program of that name"
    if command -v "$first" >/dev/null; then
        found=$("$first" --version 2>&1 | head -n 1)
    fi
    echo "\`$first\`: expected Python 3.11 or newer, but got $found." \
        "Install one, or name it: make ... PYTHON=/path/to/python3.12." >&2
    exit 1
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
fi

# Debian's Python comes without the part that venv needs.
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if ! command -v apt-get >/dev/null || { [ -n "$as_root" ] && ! command -v sudo >/dev/null; }; then
        echo "\`$python\`: expected the module ensurepip, but got none." \
            "Install it (on Debian: apt-get install $package), then run this again." >&2
        exit 1
    fi
    $as_root apt-get update -qq
    $as_root apt-get install -y -qq "$package"
fi

"$python" -m venv "$folder"
