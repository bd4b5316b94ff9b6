/** What people see of `steelthread`: colours where the terminal has them, plain text otherwise. */
import { styleText } from 'node:util';
import { formatPretty } from '../log.ts';
import type { StackLog } from '../stack/log-port.ts';
import type { LogRecord } from '../stack/program-log.ts';

type Style = Parameters<typeof styleText>[0];

export interface Console {
  print(text?: string): void;
  /** `text` in a style, where the terminal has any. */
  style(style: Style, text: string): string;
  /** Lines in a frame; an empty line is a gap. */
  box(lines: readonly string[]): void;
}

export function createConsole(stream: NodeJS.WriteStream = process.stdout): Console {
  // Asks NO_COLOR, FORCE_COLOR and TERM as well.
  const hasColors = stream.isTTY === true && stream.hasColors();
  const style = (wanted: Style, text: string): string => (hasColors ? styleText(wanted, text) : text);
  const print = (text = ''): void => void stream.write(`${text}\n`);
  return {
    print,
    style,
    box(lines) {
      const width = Math.max(...lines.map((line) => plainLength(line)));
      const bar = '─'.repeat(width + 4);
      print(style('dim', `┌${bar}┐`));
      for (const line of lines) {
        const gap = ' '.repeat(width - plainLength(line));
        print(`${style('dim', '│')}  ${line}${gap}  ${style('dim', '│')}`);
      }
      print(style('dim', `└${bar}┘`));
    },
  };
}

// biome-ignore lint/complexity/useRegexLiterals: the literal would hold a control character
const STYLE_CODES = new RegExp('\\u001b\\[[0-9;]*m', 'g');

function plainLength(text: string): number {
  return text.replaceAll(STYLE_CODES, '').length;
}

/** A log for the parts of the stack that shows what has a sentence, with the seconds since the start. */
export function createProgressLog(out: Console): StackLog {
  const startedAt = Date.now();
  const show = (message: string | undefined, paint: (text: string) => string): void => {
    if (message === undefined) return;
    const seconds = `${((Date.now() - startedAt) / 1000).toFixed(1)} s`.padStart(8);
    out.print(`${out.style('dim', seconds)}  ${paint(message)}`);
  };
  return {
    info: (_fields, message) => show(message, (text) => text),
    warn: (_fields, message) => show(message, (text) => out.style('yellow', text)),
  };
}

/** Warnings that `dev` and `demo` have words of their own for. */
const saidElsewhere = new Set(['llm_mock']);

/** Shows a warning or an error of a program on its own line. */
export function createProblemPrinter(out: Console) {
  return (program: string, line: string, record: LogRecord | null): void => {
    if (saidElsewhere.has(record?.event ?? '')) return;
    const text =
      record === null
        ? `${program}: ${line}`
        : formatPretty(JSON.stringify({ ...record, name: program })).trimEnd();
    out.print(record?.level === 'warn' ? out.style('yellow', text) : out.style('red', text));
  };
}
