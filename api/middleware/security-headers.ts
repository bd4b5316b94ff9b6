import helmet from 'koa-helmet';
import type { AppMiddleware } from '../context.ts';

const ONE_YEAR_SECONDS = 365 * 24 * 60 * 60;

/** Where browsers report violations; the route is public and rarely allowed. */
const reportUri = '/api/system/csp-report';

const strictPolicy = {
  defaultSrc: ["'self'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'", 'data:'],
  connectSrc: ["'self'"],
  objectSrc: ["'none'"],
  baseUri: ["'none'"],
  formAction: ["'self'"],
  // Not the last: clients look for it with the semicolon that follows.
  reportUri: [reportUri],
  frameAncestors: ["'none'"],
};

/** Documentation pages of others set styles on elements and search in a worker; scripts stay our own files. */
const docsPolicy = {
  ...strictPolicy,
  styleSrc: ["'self'", "'unsafe-inline'"],
  workerSrc: ["'self'", 'blob:'],
};

const docsPaths = /^\/(docs|redoc)(\/|$)/;

/** Headers that every answer carries (contract of the ananta family, kept for all). */
export function securityHeaders(): AppMiddleware {
  const strict = helmet(helmetOptions(strictPolicy));
  const docs = helmet(helmetOptions(docsPolicy));
  return async (ctx, next) => {
    ctx.set('Permissions-Policy', 'camera=(), geolocation=(), microphone=(), payment=()');
    if (ctx.secure) ctx.set('Strict-Transport-Security', `max-age=${ONE_YEAR_SECONDS}; includeSubDomains`);
    await (docsPaths.test(ctx.path) ? docs : strict)(ctx, next);
  };
}

function helmetOptions(directives: Record<string, string[]>) {
  return {
    contentSecurityPolicy: { useDefaults: false, directives },
    frameguard: { action: 'deny' },
    referrerPolicy: { policy: 'no-referrer' },
    // Set above, and only where the connection is encrypted.
    hsts: false,
  } as const;
}
