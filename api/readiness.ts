/** Looks at something the server needs; a throw counts as not ok. */
export type Check = () => Promise<{ ok: boolean; detail?: string }>;
export type Checks = Readonly<Record<string, Check>>;

export interface CheckResult {
  ok: boolean;
  latencyMs: number;
  detail?: string;
}

/** A check that takes longer has failed: a probe must answer while its target hangs. */
export const CHECK_TIMEOUT_MS = 2_000;

/** Runs all checks at once, each with its own deadline. */
export async function runChecks(checks: Checks): Promise<Record<string, CheckResult>> {
  const results = Object.entries(checks).map(async ([name, check]) => [name, await runCheck(check)] as const);
  return Object.fromEntries(await Promise.all(results));
}

async function runCheck(check: Check): Promise<CheckResult> {
  const startedAt = performance.now();
  const outcome = await Promise.race([attempt(check), timeout()]);
  return { ...outcome, latencyMs: Math.round(performance.now() - startedAt) };
}

async function attempt(check: Check): Promise<{ ok: boolean; detail?: string }> {
  try {
    return await check();
  } catch {
    // The reason may name hosts and users; probes are public. The owner of the resource logs it.
    return { ok: false, detail: 'the check failed' };
  }
}

function timeout(): Promise<{ ok: boolean; detail: string }> {
  return new Promise((resolve) => {
    setTimeout(resolve, CHECK_TIMEOUT_MS, {
      ok: false,
      detail: `no answer in ${CHECK_TIMEOUT_MS} ms`,
    }).unref();
  });
}
