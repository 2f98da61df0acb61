#!/bin/sh
# After the files of a package are gone. The configuration and the private keys stay, even at a purge: without them
# nobody reads what is encrypted. OKMS_PURGE_CONFIG=yes removes them too.
set -e

if [ "$1" = purge ]; then
  rm -f /etc/systemd/system/*.wants/okms-k8s-encryption-provider@*.service
  rm -f /etc/systemd/system/*.wants/okms-k8s-encryption-provider@*.socket
fi

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi

case "$1" in
  purge)
    rm -rf /var/lib/okms-k8s-encryption-provider
    if [ "$OKMS_PURGE_CONFIG" = yes ]; then
      rm -rf /etc/okms
    fi
    ;;
  # RPM's last version: it knows no purge, and what the plugin remembers stays.
  0) ;;
  *) exit 0 ;;
esac

if [ -n "$(ls -A /etc/okms 2>/dev/null)" ]; then
  echo "okms-k8s-encryption-provider: /etc/okms is left as it is: it holds keys" >&2
elif [ -d /etc/okms ]; then
  rmdir /etc/okms || true
fi
