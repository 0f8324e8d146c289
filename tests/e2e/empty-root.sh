# SPDX-License-Identifier: Apache-2.0
# The image needs nothing of the host but a kernel, /proc, /dev and somewhere to write: no libc, no shell, no passwd.
. "$STAGE/e2e/lib.sh"

[ "$(id -u)" = 0 ] || skip_rest "only root can make a root directory"
small_image small
root=$T/root
mkdir -p "$root/proc" "$root/dev" "$root/home" "$root/tmp"
if ! unshare -m true 2>/dev/null; then skip_rest "mounts cannot be made here"; fi
chown 1000:1000 "$root/home"
chmod 1777 "$root/tmp"
chmod 0755 "$T"
cp "$T/small.kapsel" "$root/app"
chmod 0755 "$root/app"

# The mounts are in a namespace of their own and end with it.
inside() {
  TIMEOUT=60
  # shellcheck disable=SC2016 # expanded by the inner shell
  try unshare -m sh -c 'mount --bind /proc "$1/proc" && mount --rbind /dev "$1/dev" || exit 99; shift; exec "$@"' \
    sh "$root" "$STAGE/e2e/in-root" "$root" 1000 "$@"
  if [ "$status" = 99 ]; then skip_rest "/proc and /dev cannot be mounted here"; fi
}

inside /app -c 'cat /etc/greeting'
expect_out "hello from the image" "an image starts itself"
inside /app -c 'id -u'
expect_out 1000 "as an ordinary user"
inside /app -c 'echo made > /new && cat /new'
expect_out made "writes are kept in the instance"
[ ! -e "$root/new" ] && ok "and not on the host" || not_ok "/new is on the host"
inside /app -c 'exit 42'
expect_status 42 "the program's status is the status"
inside /app -c 'kill -TERM $$'
expect_status 143 "a signal is 128 more"
finish
