import { defineConfig } from 'vitest/config';

/** Chaos and scale: `npm run test:long`. One file at a time, since they load the machine or kill what they share. */
export default defineConfig({
  test: {
    include: ['test/chaos/**/*.test.ts', 'test/scale/**/*.test.ts'],
    exclude: ['**/node_modules/**'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/leaks.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 300_000,
    hookTimeout: 120_000,
    teardownTimeout: 60_000,
    passWithNoTests: true,
  },
});
