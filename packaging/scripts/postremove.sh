#!/bin/sh
# After the files of a package are gone. The configuration and the private keys stay, even at a purge: without them
# nobody reads what is encrypted. OKMS_PURGE_CONFIG=yes removes them too.
set -e

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || true
fi

if [ "$1" = purge ]; then
  rm -rf /var/lib/okms-k8s-encryption-provider
  rm -f /etc/systemd/system/*.wants/okms-k8s-encryption-provider@*.service
  rm -f /etc/systemd/system/*.wants/okms-k8s-encryption-provider@*.socket
  if [ "$OKMS_PURGE_CONFIG" = yes ]; then
    rm -rf /etc/okms
  elif [ -n "$(ls -A /etc/okms 2>/dev/null)" ]; then
    echo "okms-k8s-encryption-provider: /etc/okms is left as it is: it holds keys" >&2
  fi
fi
