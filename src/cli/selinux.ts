/** SELinux, as far as advice on a refused permission goes: file modes are not all that decides. */
import { readFileSync } from "node:fs";

/** Where the kernel says whether SELinux enforces its policy: selinux(8). */
const enforceFile = "/sys/fs/selinux/enforce";

/** What to add to the advice on "permission denied"; nothing where SELinux enforces nothing. */
export function selinuxAdvice(file = enforceFile): string {
  try {
    if (readFileSync(file, "utf8").trim() !== "1") return "";
  } catch {
    return "";
  }
  return "; SELinux enforces its policy here: ausearch -m avc -ts recent names what it refused";
}
