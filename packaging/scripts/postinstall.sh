#!/bin/sh
# After the files of a package are there: Debian's "configure", RPM's first or later installation.
set -e

case "$1" in
  abort-*) exit 0 ;;
esac

if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers okms-k8s-encryption-provider.conf
elif ! getent passwd okms >/dev/null; then
  groupadd --system okms
  useradd --system --gid okms --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin okms
fi

chown root:okms /etc/okms
chmod 0750 /etc/okms

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # Services that run get the new program. Sockets stay open: what connects meanwhile waits, and is answered.
  systemctl try-restart 'okms-k8s-encryption-provider*.service' || true
fi
