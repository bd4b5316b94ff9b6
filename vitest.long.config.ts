import { defineConfig } from 'vitest/config';

/**
 * Chaos, scale, and what waits for clocks (slow): `npm run test:long`. One file at a time, since they load the machine or
 * kill what they share. About twenty minutes on two cores, most of it the kill matrix; `-t 'kill -9 of the api'` or one
 * file is quicker.
 */
export default defineConfig({
  test: {
    include: ['test/{chaos,scale,slow}/**/*.test.ts'],
    exclude: ['**/node_modules/**'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/leaks.ts'],
    pool: 'forks', // The Temporal runtime is one per process.
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
  },
});
