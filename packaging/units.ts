/**
 * What systemd gets from a package: template units whose instances read /etc/okms/INSTANCE.env, and the user that they
 * run as. The same units as `config systemd` makes, with a specifier where that has a value.
 */
import { serviceUnit, socketUnit } from "../src/cli/config/systemd.ts";
import { name } from "./host.ts";

const instance = `${name}@%i`;
const socket = `/run/${name}/%i.sock`;

/** Text of `okms-k8s-encryption-provider@.service`. */
export const templateService = serviceUnit({
  name: instance,
  // The socket last: it is the one that the socket unit makes, whatever the file says.
  command: `/usr/bin/${name} serve --sock=${socket}`,
  settings: [
    "User=okms",
    "EnvironmentFile=/etc/okms/%i.env",
    `StateDirectory=${name}/%i`,
    "StateDirectoryMode=0700",
  ],
  longestStopSeconds: 15,
  folders: [],
});

/** Text of `okms-k8s-encryption-provider@.socket`. Its group is root, who runs kube-apiserver; a drop-in changes it. */
export const templateSocket = socketUnit({ name: instance, sock: socket, mode: "0660", group: undefined });

/** For sysusers.d(5): the user, and the group of /etc/okms. */
export const sysusers = `u okms - "KMS plugin of Kubernetes" /nonexistent /usr/sbin/nologin\n`;

/** An example of /etc/okms/INSTANCE.env: systemd.exec(5), EnvironmentFile=. */
export const exampleEnvironment = `# /etc/okms/main.env: settings of ${name}@main.service, one variable per line.
# Every flag of \`${name} serve --help\` has its variable. After a change:
#   systemctl restart ${name}@main.service

OKMS_PROTOCOL=kmip
OKMS_SERV_ADDR=kms.example.net:5696
OKMS_KEY_LABEL=etcd
OKMS_CLIENT_CERT=/etc/okms/cert.pem
OKMS_CLIENT_KEY=/etc/okms/key.pem
OKMS_CA_CERT=/etc/okms/ca.pem

# Test values with which a start verifies that the key is still the same. The unit creates the folder.
OKMS_STATE_DIR=/var/lib/${name}/main

# The socket of the unit, for the commands that read this file; the unit has this one in any case.
OKMS_SOCK=/run/${name}/main.sock
`;
