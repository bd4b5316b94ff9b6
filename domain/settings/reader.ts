/**
 * The stored settings as this process knows them.
 *
 *  A. A notification is only an edge: everything is read again every few seconds.
 *  B. A refresh that is asked for while another one reads runs after it: that one may have read too early.
 *  C. What cannot be opened counts as not stored, and is told once.
 */
import type { Db } from '../../db/database.ts';
import { listSettings, type SettingRow } from '../../db/settings.ts';
import type { Log } from '../deps.ts';
import { type SecretBox, SecretBoxError } from '../secret-box.ts';
import { type SettingTexts, sealName, settingName } from './port.ts';

/** Longest time until a setting is taken up where no notification arrives, milliseconds. */
export const SETTINGS_POLL_MS = 5_000;

export interface SettingsReader {
  /** As last read; empty before `ready`. */
  texts(): SettingTexts;
  /** @throws when the database is away */
  refresh(): Promise<void>;
  /** Settles at the first good read, however long that takes, or when it is closed. */
  ready: Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface SettingsReaderOptions {
  db: Db;
  secrets: SecretBox;
  log: Log;
  /** After a read that found something else than the one before. */
  onChange(texts: SettingTexts): void;
}

export function createSettingsReader({ db, secrets, log, onChange }: SettingsReaderOptions): SettingsReader {
  let texts: SettingTexts = new Map();
  let seen = '';
  let reading: Promise<void> | undefined;
  let queued: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;
  let isFailing = false;
  let markReady: () => void = () => {};
  const ready = new Promise<void>((resolve) => {
    markReady = resolve;
  });

  const read = async (): Promise<void> => {
    const rows = await listSettings(db);
    const present = JSON.stringify(rows.map((row) => [row.namespace, row.key, row.isEncrypted, row.value]));
    if (present !== seen) {
      seen = present;
      texts = new Map(rows.flatMap((row) => open(row)));
      onChange(texts);
    }
    markReady();
  };

  /** C */
  const open = (row: SettingRow): [string, string][] => {
    const name = settingName(row.namespace, row.key);
    if (!row.isEncrypted) return [[name, row.value]];
    try {
      return [[name, secrets.open(sealName(row.namespace, row.key), row.value)]];
    } catch (error) {
      if (!(error instanceof SecretBoxError)) throw error;
      log.error({ event: 'setting_unreadable', setting: name, reason: error.message });
      return [];
    }
  };

  const refresh = (): Promise<void> => {
    if (isClosed) return Promise.resolve();
    if (reading === undefined) {
      reading = read().finally(() => {
        reading = undefined;
      });
      return reading;
    }
    queued ??= reading
      .catch(() => undefined)
      .then(() => {
        queued = undefined;
        return refresh(); // B
      });
    return queued;
  };

  /** A */
  const poll = async (): Promise<void> => {
    try {
      await refresh();
      isFailing = false;
    } catch (err) {
      if (!isFailing) log.warn({ event: 'settings_read_failed', err });
      isFailing = true;
    }
    if (isClosed) return;
    timer = setTimeout(() => void poll(), SETTINGS_POLL_MS);
    timer.unref();
  };
  void poll();

  return {
    texts: () => texts,
    refresh,
    ready,
    async close() {
      isClosed = true;
      markReady();
      clearTimeout(timer);
      await (queued ?? reading)?.catch(() => undefined);
    },
  };
}
