/** Names of variables that mean something to a shell, or to the programs it starts: no parameter may have them. */

/** sh, bash and what they start. Names are told by their case there. */
const posix =
  /^(?:_|PATH|IFS|ENV|HOME|PWD|OLDPWD|SHELL|SHLVL|USER|LOGNAME|HOSTNAME|UID|EUID|PPID|GROUPS|OPTIND|OPTARG|OPTERR|PS[0-4]|CDPATH|FPATH|MAIL|MAILPATH|MAILCHECK|TERM|TERMINFO|TMPDIR|TEMP|TMP|TZ|LANG|LANGUAGE|LC_\w*|LD_\w*|DYLD_\w*|BASH\w*|SHELLOPTS|POSIXLY_CORRECT|PROMPT_COMMAND|FUNCNAME|FIGNORE|GLOBIGNORE|EXECIGNORE|HIST\w*|RANDOM|SRANDOM|SECONDS|EPOCHSECONDS|EPOCHREALTIME|LINENO|DIRSTACK|PIPESTATUS|REPLY|COMP_\w*|COMPREPLY|COPROC|GIT_\w*|SSH_\w*|NODE_\w*|NPM_\w*|PYTHON\w*|PERL\w*|RUBY\w*|GEM_\w*|JAVA_\w*|CLASSPATH|EDITOR|VISUAL|PAGER|MANPAGER|LESS\w*|GREP_OPTIONS|SUDO_\w*|XDG_\w*|STEELTHREAD_\w*)$/;

/** PowerShell's automatic and preference variables, in any case. */
const powershell =
  /^(?:_|args|consolefilename|enabledexperimentalfeatures|error|errorview|event|eventargs|eventsubscriber|executioncontext|false|foreach|home|host|input|iscoreclr|islinux|ismacos|iswindows|lastexitcode|matches|myinvocation|nestedpromptlevel|null|ofs|outputencoding|pid|profile|psboundparameters|pscmdlet|pscommandpath|psculture|psdebugcontext|psdefaultparametervalues|psedition|psemailserver|pshome|psitem|psmodule\w*|psnative\w*|psscriptroot|pssenderinfo|pssession\w*|psstyle|psuiculture|psversiontable|pwd|sender|shellid|stacktrace|switch|this|transcript|true|\w+preference|maximum\w+count|formatenumerationlimit|steelthread_\w*)$/i;

/** cmd's own, in any case; `%name%` of these would be filled in before a program sees it. */
const cmd =
  /^(?:path|pathext|comspec|cd|date|time|random|errorlevel|cmdcmdline|cmdextversion|prompt|systemroot|windir|temp|tmp|userprofile|username|steelthread_\w*)$/i;

/** Taken in a shell of this kind; `any` is every one but cmd, where parameters are not variables. */
export function isReservedName(kind: 'posix' | 'powershell' | 'cmd' | 'any', name: string): boolean {
  if (kind === 'posix') return posix.test(name);
  if (kind === 'powershell') return powershell.test(name);
  if (kind === 'cmd') return cmd.test(name);
  return posix.test(name) || powershell.test(name);
}
