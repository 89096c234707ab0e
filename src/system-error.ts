/**
 * What the operating system refused, in words: a person at a rack does not read errno(3), and Node's own message ("EISDIR: illegal
 * operation on a directory, read") names neither the file nor the way out. Pure, as errors.ts.
 */
const words: Readonly<Record<string, string>> = {
  EACCES: 'permission denied to this user',
  EPERM: 'permission denied to this user',
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EISDIR: 'it is a folder, not a file',
  EEXIST: 'a file of that name is there',
  ENAMETOOLONG: 'its name is too long',
  ELOOP: 'it is a link that leads to itself',
  EROFS: 'its file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: "this user's share of the disk is used up",
  EIO: 'the disk does not give it (EIO)',
  EMFILE: 'this process has too many files open',
  ENFILE: 'this machine has too many files open',
  ETXTBSY: 'it is a program that runs',
  ERR_FS_FILE_TOO_LARGE: 'it is longer than 2 GiB',
  EADDRINUSE: 'another program has it',
  EADDRNOTAVAIL: 'this machine does not have that address',
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'the connection was broken off',
  EPIPE: 'the connection was broken off',
  ENOTFOUND: 'no name server knows that name',
  EAI_AGAIN: 'no name server answers',
  EHOSTUNREACH: 'no way leads there (EHOSTUNREACH)',
  ENETUNREACH: 'no way leads there (ENETUNREACH)',
  ETIMEDOUT: 'nobody answered in time',
}

/** A part of a sentence, without a full stop; of what is no error of the system its own message. */
export function systemReason(cause: unknown): string {
  const { code, message } = (cause ?? {}) as { code?: unknown; message?: unknown }
  const known = typeof code === 'string' ? words[code] : undefined
  return known ?? String(message ?? cause).replace(/\.$/, '')
}
