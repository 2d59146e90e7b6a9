cp -a $S $OUTSIDE
mv $OUTSIDE/* .
rmdir $OUTSIDE
mv a.mrc moved.mrc
mv sub other

mv moved.mrc other
mv -n b.mrc c.mrc
mv c.mrc b.mrc
mv notes.txt holes.mrc
mv other/d.mrc d.bak
cp $S/a.mrc .

# mv --exchange where it is installed
if mv --help | grep -q -e --exchange; then
    exchange() { mv --exchange "$@"; }
else
    exchange() { $PYTHON -c 'import ctypes, os, sys
one, other = map(os.fsencode, sys.argv[1:])
sys.exit(ctypes.CDLL(None).renameat2(-100, one, -100, other, 2))' "$@"; }
fi
exchange a.mrc b.mrc
exchange d.bak b.mrc
mv --backup=simple b.mrc a.mrc
mv other/moved.mrc holes.mrc

mkdir new
mv *.mrc new
mv new newer
mv newer $OUTSIDE
mv $OUTSIDE/* .
rmdir $OUTSIDE
