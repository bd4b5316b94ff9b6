#!/usr/bin/env node
// Plain JavaScript, so that it can say what is wrong where nothing else would load. Runs the compiled program where
// there is one beside it (a build), else the sources through tsx (a checkout).
import { existsSync } from 'node:fs';

const MIN_NODE = [20, 19];

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < MIN_NODE[0] || (major === MIN_NODE[0] && minor < MIN_NODE[1])) {
  process.stderr.write(
    `Steelthread needs Node ${MIN_NODE.join('.')} or newer; this is ${process.version}.\n`,
  );
  process.exit(2);
}

const compiled = new URL('../cli/main.js', import.meta.url);
if (existsSync(compiled)) {
  process.setSourceMapsEnabled(true);
  await import(compiled.href);
} else {
  const { register } = await import('tsx/esm/api').catch(() => {
    process.stderr.write('Steelthread runs from source through tsx, which is not installed. Run: npm ci\n');
    process.exit(2);
  });
  register();
  await import(new URL('../cli/main.ts', import.meta.url).href);
}
