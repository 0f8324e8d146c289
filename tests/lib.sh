# shellcheck shell=sh
# SPDX-License-Identifier: Apache-2.0
# What the runners of tests share: places that any user can read, and becoming an ordinary user.

# A uid that no account has; the tests must not need one.
TEST_UID=${KAPSEL_TEST_UID:-54321}

# A new directory that everybody may enter, by an absolute path outside of /tmp and of every home.
public_dir() { # PREFIX
  dir=$(mktemp -d "/var/tmp/$1.XXXXXX") && chmod 0755 "$dir" && echo "$dir"
}

# Runs a command as an ordinary user: as it is, or, started by root, with a uid, a home and an environment of its own.
as_user() {
  if [ "$(id -u)" != 0 ]; then
    "$@"
    return
  fi
  user_home=$(mktemp -d /var/tmp/kapsel-home.XXXXXX)
  chown "$TEST_UID:$TEST_UID" "$user_home"
  (cd / && setpriv --reuid "$TEST_UID" --regid "$TEST_UID" --clear-groups --inh-caps=-all \
    env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LC_ALL=C.UTF-8 HOME="$user_home" \
    KAPSEL_MUST_RUN="${KAPSEL_MUST_RUN-}" KAPSEL_DEBUG="${KAPSEL_DEBUG-}" \
    KAPSEL_KILLS="${KAPSEL_KILLS-8}" KAPSEL_FREEZES="${KAPSEL_FREEZES-}" KAPSEL_SNAPSHOTS="${KAPSEL_SNAPSHOTS-}" \
    ANYCALL="${ANYCALL-4}" COUNT="${COUNT-}" MODE="${MODE-}" FAST="${FAST-}" \
    SCRIPT_LIMIT="${SCRIPT_LIMIT-}" SEED="${SEED-}" "$@")
  user_status=$?
  rm -rf "$user_home"
  return $user_status
}

# Root keeps no capabilities inside; natively it must not either.
plain() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
  else
    setpriv --no-new-privs "$@"
  fi
}

# Can this kernel and container change users at all?
can_become_user() {
  [ "$(id -u)" != 0 ] || setpriv --reuid "$TEST_UID" --regid "$TEST_UID" --clear-groups true 2>/dev/null
}

# Ends the runner with 77, or with 1 where a skip is not accepted.
skip_all() {
  echo "1..0 # SKIP $*"
  [ "${KAPSEL_MUST_RUN-}" != 1 ] || {
    echo "not ok - skipped: $*"
    exit 1
  }
  exit 77
}
