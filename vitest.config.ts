import { defineConfig } from 'vitest/config';

/** The suite of every change: `npm test`. Chaos, scale and what waits for clocks are in `vitest.long.config.ts`. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/{chaos,scale,slow}/**', '**/node_modules/**'],
    globalSetup: ['test/support/in-memory.ts', 'test/support/global-setup.ts'],
    setupFiles: ['test/support/leaks.ts'],
    pool: 'forks', // The Temporal runtime is one per process.
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 60_000,
  },
});
