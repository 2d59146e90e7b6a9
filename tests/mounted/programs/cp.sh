cp $S/*.mrc $S/notes.txt .
cp -a $S tree
cp --sparse=always $S/holes.mrc s.mrc
cp --reflink=auto $S/a.mrc r

cp a.mrc x.mrc
cp -p --sparse=always holes.mrc y.mrc
cp --reflink=auto b.mrc a.mrc
cp -p a.mrc notes.txt

cp --remove-destination b.mrc y.mrc
cp --backup=numbered x.mrc b.mrc
cp -a tree again
cp notes.txt x.mrc

cp -T --attributes-only --preserve=all $S/a.mrc a.mrc
cp --no-clobber a.mrc b.mrc
cp -u $S/c.mrc .
