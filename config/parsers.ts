/**
 * Parsers from the text of one environment variable to its typed value. Each refusal completes the sentence
 * "<NAME> …", so messages read `PORT_X must be …`. None of them repeats the text it was given, which may be secret; only
 * that of listeners does, who are many in one variable and hold no secret.
 */
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { z } from 'zod';

/** A parser that refuses by throwing `Refusal`, as a zod schema. */
function parser<T>(parse: (text: string) => T): z.ZodType<T, string> {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  });
}

class Refusal extends Error {}

export function refuse(message: string): never {
  throw new Refusal(message);
}

export const text = z.string();

/** `on|off` and the spellings people use for them. */
export const onOff = parser((value) => {
  const word = value.toLowerCase();
  if (['on', 'true', '1', 'yes'].includes(word)) return true;
  if (['off', 'false', '0', 'no'].includes(word)) return false;
  return refuse('must be on or off');
});

export function oneOf<const T extends string>(...words: T[]): z.ZodType<T, string> {
  return parser((value) => {
    const found = words.find((word) => word === value.toLowerCase());
    return found ?? refuse(`must be one of ${words.join(', ')}`);
  });
}

export function wholeNumber(range: { min: number; max: number }): z.ZodType<number, string> {
  return parser((value) => {
    const number = Number(value);
    if (!/^\d+$/.test(value) || number < range.min || number > range.max) {
      refuse(`must be a whole number from ${range.min} to ${range.max}`);
    }
    return number;
  });
}

/** Seconds in the environment, milliseconds in the configuration. */
export function secondsToMs(range: { min: number; max: number }): z.ZodType<number, string> {
  return wholeNumber(range).transform((seconds) => seconds * 1000);
}

export function minutesToMs(range: { min: number; max: number }): z.ZodType<number, string> {
  return wholeNumber(range).transform((minutes) => minutes * 60_000);
}

export function daysToMs(range: { min: number; max: number }): z.ZodType<number, string> {
  return wholeNumber(range).transform((days) => days * 86_400_000);
}

export const dollars = parser((value) => {
  const amount = Number(value);
  if (!/^\d+(\.\d+)?$/.test(value) || !Number.isFinite(amount))
    refuse('must be an amount in US dollars, such as 2.50');
  return amount;
});

/** An absolute path; `~` is the home folder of the user who runs the process. */
export const path = parser((value) => resolve(value.replace(/^~(?=$|\/)/, homedir())));

/** An http(s) address without a trailing slash. */
export const httpUrl = parser((value) => {
  const url = parseUrl(value);
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    return refuse('must be an http:// or https:// URL');
  return url.href.replace(/\/+$/, '');
});

/** A PostgreSQL URL. SQLite was accepted by some of the systems this server stands in for, so it has its own answer. */
export const postgresUrl = parser((value) => {
  if (/^sqlite/i.test(value))
    return refuse('names a SQLite database, but only PostgreSQL 15 or newer is supported');
  const url = parseUrl(value.replace(/^postgresql\+\w+:/, 'postgresql:'));
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol)) {
    return refuse('must be a postgres:// URL with host and database name');
  }
  if (url.pathname.length < 2) return refuse('names no database; the URL must end in /<database>');
  return url.href;
});

/** `host:port`. */
export const hostAndPort = parser((value) => {
  const port = Number(/^(?:\[[0-9a-fA-F:]+\]|[^\s:/]+):(\d{1,5})$/.exec(value)?.[1] ?? Number.NaN);
  if (!(port >= 1 && port <= 65_535)) refuse('must be host:port');
  return value;
});

/** `host:port` to listen on; port 0 asks the system for a free one. */
export const listenAddress = parser((value) => {
  const match = /^(\[[0-9a-fA-F:]+\]|[^\s:/]+):(\d{1,5})$/.exec(value);
  const port = Number(match?.[2] ?? Number.NaN);
  if (match?.[1] === undefined || !(port >= 0 && port <= 65_535)) return refuse('must be host:port');
  return { host: match[1].replace(/^\[|\]$/g, ''), port };
});

/** A comma list or a JSON array of strings; empty entries are dropped. */
export const textList = parser(parseTextList);

function parseTextList(value: string): string[] {
  if (!value.trimStart().startsWith('[')) {
    return value
      .split(',')
      .map((entry) => entry.trim())
      .filter((entry) => entry !== '');
  }
  try {
    return z.array(z.string().min(1)).parse(JSON.parse(value));
  } catch {
    return refuse('must be a comma list or a JSON array of strings');
  }
}

/** Origins as browsers send them: scheme, host and port. `*` is refused, since credentials are sent with requests. */
export const origins = parser((value) =>
  parseTextList(value).map((entry) => {
    if (entry.includes('*')) return refuse('must list exact origins; * is not accepted');
    const url = parseUrl(entry);
    if (url === null || !['http:', 'https:'].includes(url.protocol) || url.pathname !== '/') {
      return refuse('must list origins such as https://console.example.com (scheme, host and port only)');
    }
    return url.origin;
  }),
);

/** Signing keys: the first signs, all of them verify. */
export function signingKeys(minLength: number): z.ZodType<string[], string> {
  return parser((value) => {
    const keys = parseTextList(value);
    if (keys.length === 0 || keys.some((key) => key.length < minLength)) {
      refuse(`must hold keys of at least ${minLength} characters each`);
    }
    return keys;
  });
}

/** Fernet keys (32 bytes in URL-safe base64): the first encrypts, all of them decrypt. */
export const fernetKeys = parser((value) => {
  const keys = parseTextList(value);
  const isFernetKey = (key: string) =>
    /^[A-Za-z0-9_-]{43}=?$/.test(key) && Buffer.from(key, 'base64url').length === 32;
  if (keys.length === 0 || !keys.every(isFernetKey))
    refuse('must hold Fernet keys: 32 bytes in URL-safe base64');
  return keys;
});

export function atLeast(minLength: number): z.ZodType<string, string> {
  return parser((value) =>
    value.length < minLength ? refuse(`must have at least ${minLength} characters`) : value,
  );
}

function parseUrl(value: string): URL | null {
  try {
    return new URL(value);
  } catch {
    return null;
  }
}

/** All entries that are wrong are named, not just the first. */
export const listeners = parser((value) => {
  const refusals: string[] = [];
  const parsed = parseTextList(value).flatMap((entry) => {
    try {
      return [parseListener(entry)];
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refusals.push(error.message);
      return [];
    }
  });
  return refusals.length > 0 ? refuse(refusals.join('; it ')) : parsed;
});

export const listenerProfiles = ['steel', 'dex', 'ananta'] as const;

export type ListenerProfile = (typeof listenerProfiles)[number];

/** One address the API listens on. `host` is null where the text named none; port 0 asks the system for a free one. */
export interface ParsedListener {
  host: string | null;
  port: number;
  profile: ListenerProfile;
}

/** Longest part of a wrong entry that is repeated. */
const MAX_QUOTED_LENGTH = 60;

function parseListener(entry: string): ParsedListener {
  const profiles = listenerProfiles.join(', ');
  const wrong = (why: string): never =>
    refuse(`has the entry ${JSON.stringify(entry.slice(0, MAX_QUOTED_LENGTH))}: ${why}`);
  const parts = /^(?:(?<host>\[[0-9a-fA-F:]+\]|[^\s:]+):)?(?<port>\d+)(?::(?<profile>[^\s:]*))?$/.exec(entry);
  const { host, port: portText = '', profile: word } = parts?.groups ?? {};
  if (parts === null) {
    return wrong(`it must be [host:]port:profile, an IPv6 host in brackets, where profile is ${profiles}`);
  }
  const port = Number(portText);
  if (port > 65_535) return wrong(`port ${portText.slice(0, MAX_QUOTED_LENGTH)} must be at most 65535`);
  const address = host === undefined ? String(port) : `${host}:${port}`;
  if (!word) return wrong(`the profile is missing; write ${address}:steel (profiles: ${profiles})`);
  const profile = listenerProfiles.find((known) => known === word);
  if (profile === undefined) return wrong(`there is no profile ${word}; use one of ${profiles}`);
  return { host: host?.replace(/^\[|\]$/g, '') ?? null, port, profile };
}
