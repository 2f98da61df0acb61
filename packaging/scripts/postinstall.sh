#!/bin/sh
# After the files of a package are there: Debian's "configure", RPM's first or later installation.
set -e

case "$1" in
  abort-*) exit 0 ;;
esac

if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers okms-k8s-encryption-provider.conf
elif ! getent passwd okms >/dev/null; then
  getent group okms >/dev/null || groupadd --system okms
  useradd --system --gid okms --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin okms
fi

# A folder that is there keeps its owner and its mode: units of one's own may read it as another user.
if [ ! -e /etc/okms ]; then
  install -d -o root -g okms -m 0750 /etc/okms
elif [ "$(stat -L -c %u:%g /etc/okms)" = 0:0 ]; then
  chgrp okms /etc/okms
  chmod g+rx /etc/okms
elif [ "$(stat -L -c %G /etc/okms)" != okms ]; then
  echo "okms-k8s-encryption-provider: /etc/okms belongs to $(stat -L -c %U:%G /etc/okms) and is left as it is;" \
    "the packaged units run as the user okms, who must be able to read it" >&2
fi

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # Services that run get the new program. Sockets stay open: what connects meanwhile waits, and is answered.
  systemctl try-restart 'okms-k8s-encryption-provider*.service' || true
fi
