git init -q -b main made
cd made
cp $S/*.mrc $S/notes.txt .
git add .
git commit -qm one
git fsck --full

git clone -q made clone
cd clone
cp $S/a.mrc b.mrc
mv notes.txt new.mrc
git add -A
git commit -qm two

cd clone
git gc -q --prune=now
git fsck --full --strict
git checkout -q HEAD~1
git status --porcelain

cd made
git pull -q ../clone main
git log --format=%H
git fsck --full
git archive HEAD | sha256sum
