import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const pages = [...markdownIn('docs'), 'README.md', 'SECURITY.md', 'CHANGELOG.md'].filter((page) =>
  existsSync(join(root, page)),
);

describe.each(pages)('%s', (page) => {
  const text = readFileSync(join(root, page), 'utf8');
  // What stands in code is an example, not a link.
  const prose = text.replaceAll(/^ *```[\s\S]*?^ *```$/gm, '').replaceAll(/`[^`\n]*`/g, '');

  it('links to what is there, by file and by heading', () => {
    expect(linksOf(prose).filter((link) => !resolves(page, link))).toEqual([]);
  });

  it('names only scripts that exist', () => {
    const scripts = readScripts();
    const named = [...text.matchAll(/\bnpm (?:run ([\w:-]+)|(test|start)\b)/g)].map(
      ([, run, direct]) => run ?? direct ?? '',
    );
    expect([...new Set(named)].filter((name) => !scripts.has(name))).toEqual([]);
  });

  it('names no path of one machine', () => {
    const machinePath =
      /(?<![\w.~-])\/(?:work|root|home|Users)\/\w[^\s)`]*|(?<![\w.~-])\/tmp\/(?!\.\.\.)[^\s)`]*/g;
    expect([...text.matchAll(machinePath)].map(([path]) => path)).toEqual([]);
  });
});

it('every page but the index of a folder is linked from another page', () => {
  const targets = new Set(
    pages.flatMap((page) => {
      const links = linksOf(readFileSync(join(root, page), 'utf8'));
      return links.map((link) => relative(root, resolve(root, dirname(page), pathOf(link))));
    }),
  );
  const exceptions = ['README.md', 'CHANGELOG.md'];
  expect(pages.filter((page) => !targets.has(page) && !exceptions.includes(page))).toEqual([]);
});

function markdownIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
    .sort();
}

/** Targets of links and images that point into this repository. */
function linksOf(text: string): string[] {
  return [...text.matchAll(/\]\(([^()\s]+)\)/g)]
    .map(([, target]) => target ?? '')
    .filter((target) => !/^[a-z]+:/i.test(target));
}

const pathOf = (link: string): string => decodeURI(link.split('#')[0] ?? '');

function resolves(page: string, link: string): boolean {
  const path = pathOf(link);
  const file = path === '' ? join(root, page) : resolve(root, dirname(page), path);
  if (!file.startsWith(root) || !existsSync(file)) return false;
  const anchor = link.split('#')[1];
  if (anchor === undefined) return true;
  return statSync(file).isFile() && headingAnchors(readFileSync(file, 'utf8')).has(anchor);
}

/** Anchors as GitHub makes them: lower case, no punctuation, blanks to dashes. */
function headingAnchors(text: string): Set<string> {
  return new Set(
    [...text.matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) =>
      (heading ?? '')
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(/\s/g, '-'),
    ),
  );
}

function readScripts(): ReadonlySet<string> {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  return new Set(Object.keys(scripts));
}
