/** The configuration as a whole: what each flag comes to, what is refused, in which words, and what is odd. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultsOf } from "../../src/cli/command.ts";
import { serveFlags } from "../../src/cli/serve-flags.ts";
import { parseServeConfig } from "../../src/config/config.ts";
import type { Config, ParsedConfig } from "../../src/config/config.ts";
import { ConfigError, createSettingsReader } from "../../src/config/settings.ts";

const uuid = "c1b2a3d4-0000-4000-8000-00000000abcd";
const kmip = {
  protocol: "kmip",
  "serv-addr": "kms.example:5696",
  "encryption-key-label": "etcd",
  "client-cert": "/c.pem",
  "client-key": "/k.pem",
};
const rest = { ...kmip, protocol: "rest", "serv-addr": "https://kms.example", "okms-id": uuid };

type Given = Readonly<Record<string, string | undefined>>;

/** Parses settings given as flags. */
function parse(given: Given, isTerminal = false): ParsedConfig {
  const settings = Object.entries(given).flatMap(([name, text]) =>
    text === undefined ? [] : [[name, { text, source: `--${name}` }] as const],
  );
  return parseServeConfig(
    createSettingsReader(Object.fromEntries(settings), defaultsOf(serveFlags)),
    isTerminal,
  );
}

function complaintsOf(given: Given): readonly string[] {
  try {
    parse(given);
  } catch (error) {
    if (error instanceof ConfigError) return error.complaints;
    throw error;
  }
  return [];
}

test("UUIDs are taken in each form that Go takes, and kept in the API's", () => {
  const { config } = parse({
    ...rest,
    "okms-id": uuid.toUpperCase(),
    "encryption-key-label": undefined,
    "encryption-key-id": `{${uuid.toUpperCase()}}`,
  });
  assert.deepEqual([config.okmsId, config.key], [uuid, { id: uuid }]);
});

test("the least command line for kmip gets every default", () => {
  assert.deepEqual(parse(kmip), {
    config: {
      protocol: "kmip",
      servers: [{ name: "kms.example:5696", host: "kms.example", port: 5696, serverName: "kms.example" }],
      sock: "/var/run/okms_etcd_plugin.sock",
      sockMode: 0o660,
      sockGroup: undefined,
      replace: false,
      sockInsecureDir: false,
      timeoutMs: 10_000,
      key: { label: "etcd" },
      okmsId: undefined,
      clientCert: "/c.pem",
      clientKey: "/k.pem",
      clientKeyPasswordFile: undefined,
      ca: undefined,
      kmipUsername: undefined,
      kmipPasswordFile: undefined,
      logLevel: "info",
      logFormat: "json",
      httpAddr: undefined,
      probeIntervalMs: 15_000,
      deepProbeIntervalMs: 300_000,
      statusGraceMs: 120_000,
      stateDir: undefined,
      kmipConnections: 8,
      maxInflight: 512,
    },
    warnings: [],
  });
});

test("the configuration is frozen, its parts too", () => {
  const { config } = parse(kmip);
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.servers) && Object.isFrozen(config.key));
});

const values: readonly (readonly [flag: string, text: string, expected: Partial<Config>])[] = [
  ["sock", "/run/a.sock", { sock: "/run/a.sock" }],
  ["sock", "@name", { sock: "@name" }],
  ["sock", "unix:///run/a.sock", { sock: "/run/a.sock" }],
  ["sock", "unix:///@name", { sock: "@name" }],
  ["sock", "unix:/run/a.sock", { sock: "/run/a.sock" }],
  ["sock", "a:b.sock", { sock: "a:b.sock" }],
  ["timeout", "1m30s", { timeoutMs: 90_000 }],
  ["ca", "/ca.pem", { ca: "/ca.pem" }],
  ["debug", "true", { logLevel: "debug" }],
  ["debug", "false", { logLevel: "info" }],
  ["log-level", "trace", { logLevel: "trace" }],
  ["log-level", "error", { logLevel: "error" }],
  ["log-format", "text", { logFormat: "text" }],
  ["http-addr", ":8088", { httpAddr: { name: "127.0.0.1:8088", host: "127.0.0.1", port: 8088 } }],
  ["sock-mode", "0600", { sockMode: 0o600 }],
  ["sock-mode", "600", { sockMode: 0o600 }],
  ["sock-mode", "0o600", { sockMode: 0o600 }],
  ["sock-group", "kube-apiserver", { sockGroup: "kube-apiserver" }],
  ["sock-group", "1000", { sockGroup: "1000" }],
  ["replace", "true", { replace: true }],
  ["probe-interval", "30s", { probeIntervalMs: 30_000 }],
  ["status-grace", "0s", { statusGraceMs: 0 }],
  ["kmip-connections", "16", { kmipConnections: 16 }],
  ["max-inflight", "64", { maxInflight: 64 }],
  ["deep-probe-interval", "1m", { deepProbeIntervalMs: 60_000 }],
  ["state-dir", "/var/lib/okms", { stateDir: "/var/lib/okms" }],
  ["sock-insecure-dir", "true", { sockInsecureDir: true }],
  ["client-key-password-file", "/p", { clientKeyPasswordFile: "/p" }],
];
for (const [flag, text, expected] of values)
  test(`--${flag} ${text} comes to ${JSON.stringify(expected)}`, () => {
    const { config } = parse({ ...kmip, [flag]: text });
    for (const [name, value] of Object.entries(expected))
      assert.deepEqual(config[name as keyof Config], value);
  });

test("rest takes base URLs, the domain, and a key by its UUID", () => {
  const { config } = parse({ ...rest, "encryption-key-label": undefined, "encryption-key-id": uuid });
  assert.deepEqual(
    [config.protocol, config.servers.map(({ name }) => name), config.okmsId, config.key],
    ["rest", ["kms.example:443"], uuid, { id: uuid }],
  );
});

test("a log on a terminal is text unless told otherwise", () => {
  assert.equal(parse(kmip, true).config.logFormat, "text");
  assert.equal(parse({ ...kmip, "log-format": "json" }, true).config.logFormat, "json");
});

test("--debug and --log-level together give the more talkative", () => {
  assert.equal(parse({ ...kmip, debug: "true", "log-level": "warn" }).config.logLevel, "debug");
  assert.equal(parse({ ...kmip, debug: "true", "log-level": "trace" }).config.logLevel, "trace");
});

test("with nothing given, everything that is missing is told at once", () => {
  assert.deepEqual(complaintsOf({}), [
    "Missing required flag --protocol: must be one of: rest, kmip",
    "Missing required flag --serv-addr: the address of the KMS, host:5696 for kmip, https://host for rest",
    "Missing required flag --encryption-key-id or --encryption-key-label: which key to use",
    "Missing required flag --client-cert: a PEM file for mutual TLS",
    "Missing required flag --client-key: a PEM file for mutual TLS",
  ]);
});

test("a user name of KMIP and the file with its password are given together", () => {
  const given = { ...kmip, "kmip-username": "k8s", "kmip-password-file": "/p" };
  const { kmipUsername, kmipPasswordFile } = parse(given).config;
  assert.deepEqual([kmipUsername, kmipPasswordFile], ["k8s", "/p"]);
  assert.match(complaintsOf({ ...given, "kmip-username": undefined })[0] ?? "", /needs --kmip-username/);
  assert.match(
    complaintsOf({ ...given, "kmip-password-file": undefined })[0] ?? "",
    /needs --kmip-password-file/,
  );
});

test("--serv-name is what every server's certificate must be for", () => {
  const { config } = parse({ ...kmip, "serv-addr": "10.0.0.1,kms.example.", "serv-name": "KMS.example." });
  assert.deepEqual(
    config.servers.map(({ host, serverName }) => [host, serverName]),
    [
      ["10.0.0.1", "kms.example"],
      ["kms.example.", "kms.example"],
    ],
  );
});

const refusals: readonly (readonly [why: string, given: Given, complaint: string])[] = [
  [
    "an unknown protocol",
    { ...kmip, protocol: "soap" },
    'Invalid value for --protocol: "soap" must be one of: rest, kmip',
  ],
  [
    "key id and label",
    { ...kmip, "encryption-key-id": "x" },
    "Flag conflict: use --encryption-key-id or --encryption-key-label, not both",
  ],
  [
    "rest without a domain",
    { ...rest, "okms-id": undefined },
    "Missing required flag --okms-id: the UUID of the OKMS domain, with --protocol rest",
  ],
  [
    "a domain that is no UUID",
    { ...rest, "okms-id": "mine" },
    'Invalid value for --okms-id: "mine" is not a UUID',
  ],
  [
    "a REST key id that is no UUID",
    { ...rest, "encryption-key-label": undefined, "encryption-key-id": "k1" },
    'Invalid value for --encryption-key-id: "k1" is not a UUID, as the keys of OKMS have',
  ],
  [
    "a key id that kube-apiserver could not take",
    { ...kmip, "encryption-key-label": undefined, "encryption-key-id": "é".repeat(513) },
    "Invalid value for --encryption-key-id: longer than 1024 bytes",
  ],
  [
    "a URL for kmip",
    { ...kmip, "serv-addr": "https://kms.example" },
    'Invalid value for --serv-addr: "https://kms.example" is a URL: kmip takes host:5696',
  ],
  [
    "a bare host for rest",
    { ...rest, "serv-addr": "kms.example" },
    'Invalid value for --serv-addr: "kms.example" is not a URL: rest takes https://host',
  ],
  [
    "a duration without a unit",
    { ...kmip, timeout: "10" },
    'Invalid value for --timeout: "10" is not a duration such as "10s", "1m30s" or "500ms"',
  ],
  [
    "no time at all",
    { ...kmip, timeout: "0s" },
    'Invalid value for --timeout: "0s" is out of range: from 1ms to 1000h',
  ],
  [
    "an unknown level",
    { ...kmip, "log-level": "loud" },
    'Invalid value for --log-level: "loud" must be one of: error, warn, info, debug, trace',
  ],
  [
    "an unknown format",
    { ...kmip, "log-format": "xml" },
    'Invalid value for --log-format: "xml" must be one of: text, json',
  ],
  ...["unix:a.sock", "unix-abstract:a", "tcp://127.0.0.1:80", "file:///run/a.sock", "@"].map(
    (sock): [string, Record<string, string>, string] => [
      `the socket ${sock}`,
      { ...kmip, sock },
      `Invalid value for --sock: "${sock}" is not a path, as /run/okms/kms.sock, or @ and a name`,
    ],
  ),
  [
    "a mode that is not octal",
    { ...kmip, "sock-mode": "rw" },
    'Invalid value for --sock-mode: "rw" is not an octal mode such as 0660',
  ],
  [
    "a mode with special bits",
    { ...kmip, "sock-mode": "4660" },
    'Invalid value for --sock-mode: "4660" is not an octal mode such as 0660',
  ],
  [
    "a group that means none to the kernel",
    { ...kmip, "sock-group": "4294967295" },
    'Invalid value for --sock-group: "4294967295" is more than 4294967294',
  ],
  [
    "a group that can be none",
    { ...kmip, "sock-group": "a b" },
    'Invalid value for --sock-group: "a b" is not a group\'s name or number',
  ],
  [
    "an HTTP address without a port",
    { ...kmip, "http-addr": "localhost" },
    'Invalid value for --http-addr: "localhost" is not host:port, as 127.0.0.1:8088',
  ],
  [
    "a name with a port",
    { ...kmip, "serv-name": "kms.example:5696" },
    'Invalid value for --serv-name: "kms.example:5696" is not the name in a server\'s certificate: write kms.example.net, or an IP address, without a port',
  ],
  [
    "too many connections",
    { ...kmip, "kmip-connections": "129" },
    'Invalid value for --kmip-connections: "129" is not a whole number from 1 to 128',
  ],
  [
    "no calls at all",
    { ...kmip, "max-inflight": "0" },
    'Invalid value for --max-inflight: "0" is not a whole number from 1 to 65536',
  ],
];
for (const [why, given, complaint] of refusals)
  test(`${why} is refused in words`, () => {
    assert.deepEqual(complaintsOf(given), [complaint]);
  });

test("a conflict with a variable says where the other half is set", () => {
  const settings = {
    ...Object.fromEntries(Object.entries(kmip).map(([name, text]) => [name, { text, source: `--${name}` }])),
    "encryption-key-id": { text: "x", source: "OKMS_KEY_ID" },
  };
  assert.throws(() => parseServeConfig(createSettingsReader(settings, defaultsOf(serveFlags)), false), {
    message:
      "Flag conflict: use --encryption-key-id or --encryption-key-label, not both (OKMS_KEY_ID set in the environment)",
  });
});

const oddities: readonly (readonly [given: Given, warning: RegExp])[] = [
  [{ ...kmip, "okms-id": uuid }, /^--okms-id has no effect with --protocol kmip$/],
  [{ ...rest, "kmip-username": "k8s" }, /^--kmip-username has no effect with --protocol rest$/],
  [{ ...rest, "kmip-connections": "4" }, /^--kmip-connections has no effect with --protocol rest$/],
  [{ ...kmip, "sock-mode": "0666" }, /every user of this host/],
  [{ ...kmip, timeout: "500ms" }, /--timeout 500ms leaves little time/],
  [{ ...kmip, timeout: "1h" }, /--timeout 1h is more than a call can need: it is taken as 10m/],
  [{ ...rest, "serv-addr": "http://127.0.0.1:1", "insecure-http": "true" }, /in the clear/],
];
for (const [given, warning] of oddities)
  test(`a warning, and no refusal: ${warning.source}`, () => {
    const { warnings } = parse(given);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", warning);
  });
