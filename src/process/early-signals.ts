/**
 * Handles the signals that would do harm before `serve` has its own listeners: SIGHUP would end the process, and at
 * SIGUSR1 Node would open its debugger, on a port of the loopback interface where every user of the host may run
 * code in it. To be imported before all else.
 */
for (const signal of ["SIGHUP", "SIGUSR1"] as const) process.on(signal, () => undefined);
