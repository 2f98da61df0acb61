#!/bin/sh
# Before the files of a package go. Debian says "remove" or "upgrade", RPM how many versions stay.
set -e

case "$1" in
  remove | 0) ;;
  *) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
  # Sockets first: an open one would start its service again.
  systemctl stop 'okms-k8s-encryption-provider@*.socket' 'okms-k8s-encryption-provider@*.service' || true
fi
if [ "$1" = 0 ] && command -v systemctl >/dev/null; then
  systemctl --quiet disable okms-k8s-encryption-provider@.service okms-k8s-encryption-provider@.socket || true
fi
