import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { z } from 'zod';
import { problem } from '../contracts/errors.ts';
import type { OpenApiDocument } from '../contracts/openapi.ts';
import { bytes, defineRoute, text } from '../contracts/route.ts';
import { type MountedRoute, mount } from './mount.ts';

const require = createRequire(import.meta.url);

const open = {
  family: 'house',
  method: 'GET',
  auth: 'public',
  rateClass: 'unlimited',
  tags: ['documentation'],
} as const;
const page = text('text/html; charset=utf-8');
const cacheControl = { 'Cache-Control': 'public, max-age=3600' };

const openapi = defineRoute({
  ...open,
  path: '/openapi.json',
  summary: 'Describe every route as OpenAPI 3.1',
  replies: { 200: z.looseObject({ openapi: z.literal('3.1.0') }) },
});

const swaggerPage = defineRoute({
  ...open,
  path: '/docs',
  summary: 'Show the API in Swagger UI',
  replies: { 200: page },
});

const redocPage = defineRoute({
  ...open,
  path: '/redoc',
  summary: 'Show the API in ReDoc',
  replies: { 200: page },
});

const asset = defineRoute({
  ...open,
  path: '/docs/{asset}',
  summary: 'Serve a file of the documentation pages',
  params: z.object({ asset: z.string() }),
  replies: { 200: bytes() },
  errors: ['not_found'],
});

/** Files the pages load, by the name in their URL. Our own are short enough to stand here. */
const assets: Record<string, { type: string; read: () => Promise<Buffer> }> = {
  'swagger-ui.css': {
    type: 'text/css',
    read: () => readAsset('swagger-ui.css', 'swagger-ui-dist/swagger-ui.css'),
  },
  'swagger-ui.js': {
    type: 'text/javascript',
    read: () => readAsset('swagger-ui.js', 'swagger-ui-dist/swagger-ui-bundle.js'),
  },
  'redoc.js': {
    type: 'text/javascript',
    read: () => readAsset('redoc.js', 'redoc/bundles/redoc.standalone.js'),
  },
  'swagger-init.js': script(`SwaggerUIBundle({ url: '/openapi.json', dom_id: '#page', deepLinking: true });`),
  'redoc-init.js': script(`Redoc.init('/openapi.json', {}, document.getElementById('page'));`),
};

const swaggerHtml = htmlPage({ styles: ['swagger-ui.css'], scripts: ['swagger-ui.js', 'swagger-init.js'] });
const redocHtml = htmlPage({ styles: [], scripts: ['redoc.js', 'redoc-init.js'] });

/** The OpenAPI document and two pages that show it; everything they load comes from here. */
export function documentationRoutes({ getDocument }: { getDocument: () => OpenApiDocument }): MountedRoute[] {
  return [
    mount(openapi, async () => ({ status: 200, body: getDocument() })),
    mount(swaggerPage, async () => ({ status: 200, body: swaggerHtml })),
    mount(redocPage, async () => ({ status: 200, body: redocHtml })),
    mount(asset, async ({ params }) => {
      const file = Object.hasOwn(assets, params.asset) ? assets[params.asset] : undefined;
      if (file === undefined) throw problem('not_found');
      const headers = { ...cacheControl, 'Content-Type': `${file.type}; charset=utf-8` };
      return { status: 200, headers, body: await file.read() };
    }),
  ];
}

/** A page without inline scripts, as the content security policy wants it. */
function htmlPage({ styles, scripts }: { styles: string[]; scripts: string[] }): string {
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<title>Steelthread API</title>',
    ...styles.map((name) => `<link rel="stylesheet" href="/docs/${name}">`),
    '<div id="page"></div>',
    ...scripts.map((name) => `<script src="/docs/${name}"></script>`),
    '</html>',
    '',
  ].join('\n');
}

function script(source: string) {
  return { type: 'text/javascript', read: async () => Buffer.from(`${source}\n`) };
}

/** A build keeps copies beside this file, so that it needs neither package; a checkout reads the packages. */
function readAsset(name: string, specifier: string): Promise<Buffer> {
  const copy = new URL(`./assets/${name}`, import.meta.url);
  return readFile(existsSync(copy) ? copy : require.resolve(specifier));
}
