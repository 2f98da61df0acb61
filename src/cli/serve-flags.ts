/** The flags of `serve`: the Go original's, and those new here (with OKMS_… variables). Other commands share them. */
import type { FlagSet } from "./command.ts";

const addressFlags = {
  protocol: {
    group: "SERVER",
    type: "string",
    valueHint: "PROTOCOL",
    env: "OKMS_PROTOCOL",
    description: "protocol of the KMS: kmip or rest",
  },
  "serv-addr": {
    group: "SERVER",
    type: "string",
    valueHint: "ADDRESS[,…]",
    env: "OKMS_SERV_ADDR",
    description:
      "address of the KMS: host:5696 for kmip, https://host for rest; of several, the first that answers is used",
  },
  "serv-name": {
    group: "SERVER",
    type: "string",
    valueHint: "NAME",
    env: "OKMS_SERV_NAME",
    fallback: "the host of --serv-addr",
    description: "name in the server's certificate, if --serv-addr has another one (an IP address, a tunnel)",
  },
} as const satisfies FlagSet;

/** The flags that lead to a KMS and its key, shared by every command that talks to one. */
export const connectionFlags = {
  ...addressFlags,
  timeout: {
    group: "SERVER",
    type: "string",
    valueHint: "DURATION",
    env: "OKMS_TIMEOUT",
    default: "10s",
    description:
      "maximum time of a call, such as 10s, 1m30s, 500ms; a shorter deadline of the client takes precedence",
  },
  "encryption-key-id": {
    group: "KEY",
    type: "string",
    valueHint: "ID",
    env: "OKMS_KEY_ID",
    description: "identifier of the key; give this or the label, not both",
  },
  "encryption-key-label": {
    group: "KEY",
    type: "string",
    valueHint: "LABEL",
    env: "OKMS_KEY_LABEL",
    description: "name of the key, re-resolved at every probe: give the name to another key to rotate",
  },
  "okms-id": {
    group: "REST ONLY",
    type: "string",
    valueHint: "UUID",
    env: "OKMS_ID",
    description: "OKMS domain",
  },
  "client-cert": {
    group: "AUTHENTICATION",
    type: "string",
    valueHint: "FILE",
    env: "OKMS_CLIENT_CERT",
    description: "certificate for mutual TLS, PEM or PKCS #12; re-read when it changes",
  },
  "client-key": {
    group: "AUTHENTICATION",
    type: "string",
    valueHint: "FILE",
    env: "OKMS_CLIENT_KEY",
    description: "PEM private key of the certificate; not needed with PKCS #12",
  },
  ca: {
    group: "AUTHENTICATION",
    type: "string",
    valueHint: "FILE",
    env: "OKMS_CA_CERT",
    fallback: "the system's roots",
    description:
      "PEM bundle that the server's certificate must chain to: roots, an intermediate, or the certificate itself",
  },
  "client-key-password-file": {
    group: "AUTHENTICATION",
    type: "string",
    valueHint: "FILE",
    env: "OKMS_CLIENT_KEY_PASSWORD_FILE",
    description: "file with the password of an encrypted --client-key, or of a PKCS #12 --client-cert",
  },
  "kmip-username": {
    group: "AUTHENTICATION",
    type: "string",
    valueHint: "NAME",
    env: "OKMS_KMIP_USERNAME",
    description: "user name that the KMIP server requires besides the certificate; kmip only",
  },
  "kmip-password-file": {
    group: "AUTHENTICATION",
    type: "string",
    valueHint: "FILE",
    env: "OKMS_KMIP_PASSWORD_FILE",
    description: "file with the password of --kmip-username; re-read when it changes",
  },
  "kmip-connections": {
    group: "ADVANCED",
    type: "string",
    valueHint: "N",
    env: "OKMS_KMIP_CONNECTIONS",
    default: "8",
    description: "maximum number of connections to each KMIP server, 1 to 128",
  },
  "insecure-http": {
    group: "ADVANCED",
    type: "boolean",
    hidden: true,
    description: "allow http:// to loopback for rest; for tests",
  },
} as const satisfies FlagSet;

/** All flags that make up a Config, shared by `check`, `init` and `config`; `parseServeConfig` (src/config/config.ts) reads them. */
export const serveFlags = {
  ...addressFlags,
  sock: {
    group: "SERVER",
    type: "string",
    valueHint: "PATH",
    env: "OKMS_SOCK",
    default: "/var/run/okms_etcd_plugin.sock",
    description: "Unix socket to listen on; @name for an abstract one, from kube-apiserver 1.32",
  },
  ...connectionFlags,
  debug: {
    group: "ADVANCED",
    type: "boolean",
    env: "OKMS_DEBUG",
    description: "the same as --log-level debug",
  },
  "log-level": {
    group: "ADVANCED",
    type: "string",
    valueHint: "LEVEL",
    env: "OKMS_LOG_LEVEL",
    default: "info",
    description: "error, warn, info, debug, or trace (KMIP messages, without secrets)",
  },
  "log-format": {
    group: "ADVANCED",
    type: "string",
    valueHint: "FORMAT",
    env: "OKMS_LOG_FORMAT",
    fallback: "text on a terminal, else json",
    description: "text or json",
  },
  "http-addr": {
    group: "ADVANCED",
    type: "string",
    valueHint: "HOST:PORT",
    env: "OKMS_HTTP_ADDR",
    fallback: "none",
    description:
      "serve /livez, /readyz and /metrics on this address, such as 127.0.0.1:8088; without a host: loopback",
  },
  "sock-mode": {
    group: "ADVANCED",
    type: "string",
    valueHint: "OCTAL",
    env: "OKMS_SOCK_MODE",
    default: "0660",
    description: "permissions of the socket file",
  },
  "sock-group": {
    group: "ADVANCED",
    type: "string",
    valueHint: "GROUP",
    env: "OKMS_SOCK_GROUP",
    fallback: "the process's own",
    description: "group of the socket file, by name or number",
  },
  replace: {
    group: "ADVANCED",
    type: "boolean",
    env: "OKMS_REPLACE",
    description: "take over the socket from a process that still listens on it, without an interruption",
  },
  "sock-insecure-dir": {
    group: "ADVANCED",
    type: "boolean",
    env: "OKMS_SOCK_INSECURE_DIR",
    description: "accept a socket folder that other users may write to, as in a sidecar; warns at each start",
  },
  "probe-interval": {
    group: "ADVANCED",
    type: "string",
    valueHint: "DURATION",
    env: "OKMS_PROBE_INTERVAL",
    default: "15s",
    description: "time between two probes of the key while it is healthy",
  },
  "status-grace": {
    group: "ADVANCED",
    type: "string",
    valueHint: "DURATION",
    env: "OKMS_STATUS_GRACE",
    default: "2m",
    description: "how long Status still says ok after the last successful probe, during a transient failure",
  },
  "deep-probe-interval": {
    group: "ADVANCED",
    type: "string",
    valueHint: "DURATION",
    env: "OKMS_DEEP_PROBE_INTERVAL",
    default: "5m",
    description: "time between two probes that also encrypt and decrypt",
  },
  "state-dir": {
    group: "ADVANCED",
    type: "string",
    valueHint: "FOLDER",
    env: "OKMS_STATE_DIR",
    fallback: "memory only",
    description: "folder for test values with which a later start verifies the key",
  },
  "max-inflight": {
    group: "ADVANCED",
    type: "string",
    valueHint: "N",
    env: "OKMS_MAX_INFLIGHT",
    default: "512",
    description: "maximum number of calls in flight; further calls are refused at once",
  },
} as const satisfies FlagSet;
