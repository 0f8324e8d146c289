# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# For end-to-end scripts: TAP on standard output, one line a fact; what was wrong goes behind `#`.
# The runner sets KAPSEL, STAGE (programs and scripts, readable by all) and T (a directory of the script's own).
set -u
: "${KAPSEL:?run this by tests/run-e2e.sh}" "${STAGE:?}" "${T:?}"
tests=0 failures=0
cd "$T" || exit 1

ok() { # WHAT
  tests=$((tests + 1))
  echo "ok $tests - $1"
}

not_ok() { # WHAT [FILE...]: shows the files
  tests=$((tests + 1)) failures=$((failures + 1))
  echo "not ok $tests - $1"
  shift
  for shown; do
    echo "# --- $shown"
    head -c 4000 "$shown" | head -40 | sed 's/^/# /'
  done
}

# Runs a command; its output goes to $T/out and $T/err, its status to $status.
try() {
  timeout -k 5 "${TIMEOUT:-180}" "$@" >"$T/out" 2>"$T/err" </dev/null
  status=$?
}

# Waits until a command succeeds: for a minute and more, as that costs nothing where it soon does.
wait_for() { # COMMAND...
  waited=0
  until "$@" 2>/dev/null; do
    waited=$((waited + 1))
    [ "$waited" -lt 1500 ] || return 1
    sleep 0.04
  done
}

expect_status() { # WANTED WHAT
  if [ "$status" = "$1" ]; then ok "$2"; else not_ok "$2: exit $status, $1 was expected" "$T/out" "$T/err"; fi
}

expect_out() { # WANTED WHAT: the whole of standard output
  printf '%s\n' "$1" >"$T/wanted"
  if [ "$status" = 0 ] && cmp -s "$T/wanted" "$T/out"; then
    ok "$2"
  else
    not_ok "$2: exit $status" "$T/wanted" "$T/out" "$T/err"
  fi
}

expect_err_line() { # REGEX WHAT: one line of error, then at most a hint
  if head -1 "$T/err" | grep -qE -- "$1" && [ "$(wc -l <"$T/err")" -le 2 ] && [ "$(sed 1d "$T/err" | grep -vc '^hint: ')" = 0 ]; then
    ok "$2"
  else
    not_ok "$2: /$1/ was expected" "$T/err"
  fi
}

# An image of a few host programs; its name is $T/NAME.kapsel.
small_image() { # NAME [PROGRAM...]
  image_name=$1
  shift
  {
    printf 'kapsel: 1\nname: %s\nversion: "1"\nentry: {command: [/bin/sh], cwd: /}\ncontents:\n' "$image_name"
    printf '  - elf: [/bin/sh, /bin/cat, /bin/ls, /bin/true, /usr/bin/id'
    for program; do printf ', %s' "$program"; done
    printf ']\n  - file: {path: /etc/greeting, text: "hello from the image\\n"}\n'
  } >"$T/$image_name.yaml"
  try "$KAPSEL" pack --quiet --compression 1 "$T/$image_name.yaml" -o "$T/$image_name.kapsel"
  if [ "$status" != 0 ]; then
    not_ok "packing $image_name" "$T/err"
    finish
  fi
}

# Can the supervisor act on sockets of guests here? (pidfd_getfd; Docker's default filter refuses it.)
reaches_sockets() { # IMAGE
  ! "$KAPSEL" run --rm --net connect=1 "$1" -- /none 2>&1 | grep -q pidfd_getfd
}

skip() { # WHAT WHY
  tests=$((tests + 1))
  echo "ok $tests - $1 # SKIP $2"
}

skip_rest() { # WHY
  skip "the rest" "$1"
  finish
}

finish() {
  echo "1..$tests"
  [ "$failures" = 0 ]
  exit
}
