/** An installer package on its way out: a zip, written while it is read. */
import { Readable } from 'node:stream';
import { ZipFile } from 'yazl';
import { noStore } from '../contracts/auth.ts';
import type { InstallerPackage } from '../domain/installer/package.ts';

/** Unix modes of files in the zip. */
const modes = { secret: 0o100600, program: 0o100755, other: 0o100644 } as const;

/** What `X-Installer-Format` says: no Windows program can be built on a server like this one. */
export const INSTALLER_FORMAT = 'zip; installer=install.ps1,install.sh; exe=not-available';

/** The reply of a route that declares `installerReply`. */
export function installerReplyOf(made: InstallerPackage) {
  return {
    status: 200,
    headers: {
      ...noStore,
      'Content-Disposition': `attachment; filename="${made.fileName}"`,
      'X-Installer-Format': INSTALLER_FORMAT,
      'X-Enrolment-Expires': made.expiresAt.toISOString(),
    },
    body: zipOf(made),
  } as const;
}

function zipOf({ directory, files }: InstallerPackage): Readable {
  const zip = new ZipFile();
  for (const { name, bytes, isExecutable, isSecret } of files) {
    const mode = isSecret ? modes.secret : isExecutable ? modes.program : modes.other;
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    zip.addBuffer(buffer, `${directory}/${name}`, { mode });
  }
  zip.end();
  return new Readable().wrap(zip.outputStream);
}
