/**
 * Loaded before each test file: when its event loop is empty, the process is gone at once. Left to itself Node
 * then closes what it still holds, and with a TCP handle that a lost connection left behind waits for that for
 * ever, with a core to itself (seen in the chaos test, Node 24.21, in Environment::CleanupHandles).
 */
process.on("exit", () => process.exit());
