# Prints a folder's tree as JSON: what test/layers/umoci.test.ts compares. Names are one character for each byte.
import hashlib, json, os, stat, sys

root = os.fsencode(sys.argv[1])
kinds = {stat.S_IFDIR: 'directory', stat.S_IFREG: 'file', stat.S_IFLNK: 'symlink', stat.S_IFCHR: 'character',
         stat.S_IFBLK: 'block', stat.S_IFIFO: 'fifo'}
tree = {}


def add(path, name):
    s = os.lstat(path)
    kind = kinds[stat.S_IFMT(s.st_mode)]
    node = {'kind': kind, 'mode': stat.S_IMODE(s.st_mode), 'uid': s.st_uid, 'gid': s.st_gid}
    node['xattrs'] = {os.fsencode(key).decode('latin1'): os.getxattr(path, key, follow_symlinks=False).hex()
                      for key in sorted(os.listxattr(path, follow_symlinks=False)) if key != 'security.selinux'}
    if kind != 'directory':
        node['links'] = s.st_nlink
    if kind == 'symlink':
        node['target'] = os.readlink(path).decode('latin1')
    if kind in ('character', 'block'):
        node['device'] = [os.major(s.st_rdev), os.minor(s.st_rdev)]
    if kind == 'file':
        with open(path, 'rb') as f:
            node['sha256'] = hashlib.sha256(f.read()).hexdigest()
    tree[name.decode('latin1') or '.'] = node
    if kind == 'directory':
        for child in sorted(os.listdir(path)):
            add(path + b'/' + child, (name + b'/' if name else b'') + child)


add(root, b'')
print(json.dumps(tree))
