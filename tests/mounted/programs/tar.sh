tar -C $S --xattrs -cf - . | tar --xattrs -xpf -
mkdir again
tar -C $S -cf - . | tar -C again -xSf -

tar --sort=name --format=gnu -cf - again sub *.mrc notes.txt | sha256sum
tar -cf all.mrc a.mrc notes.txt again/*.* again/sub/*.*

tar -xf all.mrc
tar --overwrite -C $CHANGED -cf - a.mrc | tar --overwrite -xf -
tar -tvf all.mrc | wc -l

tar --delete -f all.mrc notes.txt
tar -rf all.mrc b.mrc
tar -df all.mrc again/a.mrc
