/** `npm run build`: one executable file in dist/, runtime dependencies included. */
import { chmodSync, readFileSync } from "node:fs";
import { defineConfig } from "rolldown";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
const file = "dist/okms-k8s-encryption-provider.js";

export default defineConfig({
  input: "src/main.ts",
  platform: "node",
  transform: { define: { "process.env.OKMS_BUILD_VERSION": JSON.stringify(version) } },
  output: {
    file,
    format: "esm",
    codeSplitting: false,
    banner: "#!/usr/bin/env node",
    comments: false,
  },
  plugins: [
    {
      name: "executable",
      writeBundle() {
        chmodSync(file, 0o755);
      },
    },
  ],
});
