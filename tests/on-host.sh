#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs the launcher as an ordinary user on a host of one kind; started by root, except for the kind plain.
#   on-host.sh KIND STAGE [ARG...]     the launcher is STAGE/kapsel, images lie in STAGE/images
# The kinds:
#   plain     this machine
#   strict    this machine, at level strict
#   docker    this machine, with what Docker's default filter refuses refused
#   foreign   nothing in /usr/lib and /usr/share; the home on a file system mounted noexec; the images read-only
#   empty     a root directory that holds nothing but the images, the launcher, /proc, /dev, /tmp and a home
set -eu
kind=$1 stage=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

# Mounts are made in a namespace of their own, and end with it. in-root is static: it needs no library of the host.
case $kind in
plain) as_user "$stage/kapsel" "$@" ;;
strict)
  if [ "$1" = run ]; then
    shift
    set -- run --level strict "$@"
  fi
  as_user "$stage/kapsel" "$@"
  ;;
docker) as_user "$stage/docker-shim" "$stage/kapsel" "$@" ;;
foreign)
  # shellcheck disable=SC2016 # for the inner shell
  exec unshare -m sh -euc '
    stage=$1 uid=$2 none=$1/none
    mkdir -p "$none" "$stage/home"
    chmod 0755 "$none"
    mount -t tmpfs -o noexec,mode=0755,uid="$uid" none "$stage/home"
    mount --bind "$stage/home" /home
    mount --bind "$stage/images" "$stage/images"
    mount -o remount,bind,ro "$stage/images"
    mount --bind "$none" /usr/share
    shift 2
    in_root=$stage/in-root launcher=$stage/kapsel
    mount --bind "$none" /usr/lib
    exec "$in_root" / "$uid" "$launcher" "$@"' sh "$stage" "$TEST_UID" "$@"
  ;;
empty)
  # shellcheck disable=SC2016
  exec unshare -m sh -euc '
    stage=$1 uid=$2 root=$1/root
    mkdir -p "$root"
    mount -t tmpfs -o mode=0755 none "$root"
    mkdir -p "$root/proc" "$root/dev" "$root/home" "$root/tmp" "$root/$stage/images"
    cp "$stage/kapsel" "$root/kapsel"
    chown "$uid:$uid" "$root/home"
    chmod 1777 "$root/tmp"
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind "$stage/images" "$root/$stage/images"
    shift 2
    exec "$stage/in-root" "$root" "$uid" /kapsel "$@"' sh "$stage" "$TEST_UID" "$@"
  ;;
*)
  echo "on-host.sh: $kind: unknown kind of host" >&2
  exit 2
  ;;
esac
