import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  agentFrameSchema,
  agentOutcomes,
  capabilityNames,
  closeCodes,
  serverFrameSchema,
} from '../../contracts/agent-protocol.ts';
import { eventTypes } from '../../contracts/events.ts';
import { decideBodySchema, endedTaskStates, stepDecisions } from '../../contracts/tasks.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

/** First cells of a page's tables, where they are code. */
function firstCells(path: string): string[] {
  return [...read(path).matchAll(/^\| `([^`]+)` \|/gm)].map(([, cell]) => cell ?? '');
}

/** Source files that may act, by path. */
function sources(): string[] {
  return ['activities', 'agent', 'api', 'cli', 'db', 'domain', 'temporal', 'worker'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join(folder, name)),
  );
}

describe('docs/reference/events.md', () => {
  it('lists every event, in the order of the contract', () => {
    expect(firstCells('docs/reference/events.md')).toEqual([...eventTypes]);
  });

  it('has no event that nothing emits', () => {
    const code = sources().map(read).join('\n');
    const ends = endedTaskStates.map((end) => `task.${end}`);
    expect(code).toContain('unit.emit(`task.${end}`');
    const silent = eventTypes.filter((type) => !code.includes(`'${type}'`) && !ends.includes(type));
    expect(silent).toEqual([]);
  });
});

describe('docs/reference/audit.md', () => {
  it('lists exactly the actions that the code writes', () => {
    const found = new Set<string>();
    for (const path of sources()) {
      for (const [, action] of read(path).matchAll(/\baction: ['`]([^'`]+)['`]/g)) {
        for (const name of actionsOf(path, action ?? '')) found.add(name);
      }
    }
    expect(firstCells('docs/reference/audit.md')).toEqual([...found].sort());
  });
});

/** A literal stands for itself, a template for everything it can become. */
function actionsOf(path: string, action: string): readonly string[] {
  switch (action) {
    case 'deny': // `frameguard` of the security headers
      return [];
    case 'step.${body.decision}':
      return decideBodySchema.options.map((option) => `step.${option.shape.decision.value}`);
    case 'step.${patch.decision}':
      // `expire` and `cancel` are written with the end of their task, which has its own row.
      return stepDecisions
        .filter((decision) => decision !== 'expire' && decision !== 'cancel')
        .map((decision) => `step.${decision}`);
    case 'task.${end}':
      return endedTaskStates.map((end) => `task.${end}`);
    default:
      if (action.includes('${')) throw new Error(`${path}: what can ${action} become? Say so here.`);
      return [action];
  }
}

describe('docs/reference/agent-protocol.md', () => {
  const page = read('docs/reference/agent-protocol.md');
  const section = (heading: string): string => page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  const cells = (heading: string): string[] =>
    [...section(heading).matchAll(/^\| `?([\w.-]+)`? \|/gm)].map(([, cell]) => cell ?? '').slice(1);

  it('lists every frame with every field', () => {
    for (const [heading, schema] of [
      ['Frames of the agent', agentFrameSchema],
      ['Frames of the server', serverFrameSchema],
    ] as const) {
      const frames = schema.options.map((option) => option.shape);
      expect(new Set(cells(heading))).toEqual(new Set(frames.map((shape) => shape.type.value)));
      for (const shape of frames) {
        const row = section(heading).split(`\n| \`${shape.type.value}\` |`)[1]?.split('\n')[0] ?? '';
        const times = ['startedAt', 'finishedAt']; // "times" in the row of `result`
        const fields = Object.keys(shape).filter((name) => name !== 'type');
        const missing = fields.filter(
          (name) => !row.includes(`\`${name}\``) && !(times.includes(name) && row.includes('times')),
        );
        expect({ frame: shape.type.value, missing }).toEqual({ frame: shape.type.value, missing: [] });
      }
    }
  });

  it('lists outcomes, close codes and capabilities', () => {
    expect(cells('Outcomes')).toEqual([...agentOutcomes]);
    expect(cells('Close codes').map(Number).sort()).toEqual(Object.values(closeCodes).sort());
    expect(capabilityNames.filter((name) => !section('Capabilities').includes(`\`${name}\``))).toEqual([]);
  });
});

describe('docs/reference/promises.md', () => {
  const rows = [
    ...read('docs/reference/promises.md').matchAll(
      /^\| [^|]+ \| \[[^\]]+\]\(\.\.\/\.\.\/([^)]+)\) \| (.+) \|$/gm,
    ),
  ].map(([, path, title]) => ({ path: path ?? '', title: title ?? '' }));

  it('names tests that exist', () => {
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.filter(({ path, title }) => !read(path).includes(title))).toEqual([]);
  });
});
