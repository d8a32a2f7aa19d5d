;; Objects: made behind the cursor, packed fields, casts by descriptor and display, one check of index and null.
(module
  (type $p (sub (struct (field (mut i32)) (field i8) (field (mut anyref)))))
  (type $q (sub final $p (struct (field (mut i32)) (field i8) (field (mut anyref)) (field v128))))
  (type $a (array (mut i32)))
  (func (param i32) (result (ref $p)) (struct.new $p (local.get 0) (i32.const 3) (ref.null any)))
  (func (param (ref null $p)) (result i32) (struct.get_s $p 1 (local.get 0)))
  (func (param (ref null $a) i32) (result i32) (array.get $a (local.get 0) (local.get 1)))
  (func (param anyref) (result i32) (ref.test (ref $q) (local.get 0)))
  (func (param (ref null $p)) (result i32) (ref.test (ref $q) (local.get 0)))
  (func (param anyref) (result (ref null $p)) (ref.cast (ref null $p) (local.get 0))))

;;; IR
;; define weak dso_local ptr @f0(ptr %vmctx, i32 %p0) #0 !dbg !20 {
;; entry:
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %heap.p = getelementptr i8, ptr %store, i64 56
;;   %heap = load ptr, ptr %heap.p, align 8, !invariant.load !0
;;   %cursor.p = getelementptr i8, ptr %store, i64 64
;;   %limit.p = getelementptr i8, ptr %store, i64 72
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type0.p = getelementptr i32, ptr %types, i64 0
;;   %type0 = load i32, ptr %type0.p, align 4, !invariant.load !0
;;   %builtins.p = getelementptr i8, ptr %vmctx, i64 24
;;   %builtins = load ptr, ptr %builtins.p, align 8, !invariant.load !0
;;   %builtin21.p = getelementptr ptr, ptr %builtins, i64 21
;;   %builtin21 = load ptr, ptr %builtin21.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1p = load i64, ptr %cursor.p, align 8, !tbaa !2
;;   %x1l = load i64, ptr %limit.p, align 8, !tbaa !2
;;   %x1e = add nuw nsw i64 %x1p, 16
;;   %x1o = icmp ugt i64 %x1e, %x1l
;;   br i1 %x1o, label %t2, label %k2, !prof !3
;; k2:
;;   %x1a = getelementptr i8, ptr %heap, i64 %x1p
;;   store volatile i32 %type0, ptr %x1a, align 8, !tbaa !1073741824
;;   store volatile i64 %x1e, ptr %cursor.p, align 8, !tbaa !2
;;   br label %n2
;; n2:
;;   %x1 = phi i64 [ %x1p, %k2 ], [ %x1s, %t2 ]
;;   %x3 = getelementptr i8, ptr %heap, i64 %x1
;;   %x4 = getelementptr i8, ptr %x3, i64 4
;;   store i32 %p0, ptr %x4, align 4, !tbaa !1073741846
;;   %x5 = trunc i32 3 to i8
;;   %x6 = getelementptr i8, ptr %x3, i64 8
;;   store i8 %x5, ptr %x6, align 1, !tbaa !1073741842
;;   %x7 = inttoptr i64 %x1 to ptr
;;   ret ptr %x7
;; t2:
;;   %x1s = call i64 %builtin21(ptr %vmctx, i32 %type0, i64 0, i64 16), !dbg !DILocation(line: 87, scope: !20)
;;   br label %n2
;; }

;; define weak dso_local i32 @f1(ptr %vmctx, ptr %p0) #0 !dbg !21 {
;; entry:
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %heap.p = getelementptr i8, ptr %store, i64 56
;;   %heap = load ptr, ptr %heap.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = icmp eq ptr %p0, null
;;   br i1 %x1, label %t3, label %k2, !prof !3
;; k2:
;;   %x4 = ptrtoint ptr %p0 to i64
;;   %x5 = getelementptr i8, ptr %heap, i64 %x4
;;   %x6 = getelementptr i8, ptr %x5, i64 8
;;   %x7n = load i8, ptr %x6, align 1, !tbaa !1073741842
;;   %x7 = sext i8 %x7n to i32
;;   ret i32 %x7
;; t3:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 95, scope: !21)
;;   call void @llvm.ubsantrap(i8 13) #1, !dbg !DILocation(line: 95, scope: !21)
;;   unreachable
;; }

;; define weak dso_local i32 @f2(ptr %vmctx, ptr %p0, i32 %p1) #0 !dbg !22 {
;; entry:
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %heap.p = getelementptr i8, ptr %store, i64 56
;;   %heap = load ptr, ptr %heap.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x1 = ptrtoint ptr %p0 to i64
;;   %x2 = getelementptr i8, ptr %heap, i64 %x1
;;   %x3p = getelementptr i8, ptr %x2, i64 4
;;   %x3 = load i32, ptr %x3p, align 4, !tbaa !1073741824
;;   %x4 = icmp uge i32 %p1, %x3
;;   br i1 %x4, label %outside5, label %k5, !prof !3
;; k5:

;;   %x8 = getelementptr i8, ptr %x2, i64 8
;;   %x9z = zext i32 %p1 to i64
;;   %x9 = getelementptr i32, ptr %x8, i64 %x9z
;;   %x10 = load i32, ptr %x9, align 4, !tbaa !1073741864
;;   ret i32 %x10
;; t6:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 106, scope: !22)
;;   call void @llvm.ubsantrap(i8 13) #1, !dbg !DILocation(line: 106, scope: !22)
;;   unreachable
;; t7:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 106, scope: !22)
;;   call void @llvm.ubsantrap(i8 14) #1, !dbg !DILocation(line: 106, scope: !22)
;;   unreachable
;; outside5:
;;   %x4n = icmp eq ptr %p0, null
;;   br i1 %x4n, label %t6, label %t7
;; }

;; define weak dso_local i32 @f3(ptr %vmctx, ptr %p0) #0 !dbg !23 {
;; entry:
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type1.p = getelementptr i32, ptr %types, i64 1
;;   %type1 = load i32, ptr %type1.p, align 4, !invariant.load !0
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %heap.p = getelementptr i8, ptr %store, i64 56
;;   %heap = load ptr, ptr %heap.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x3 = ptrtoint ptr %p0 to i64
;;   %x4b = and i64 %x3, 3
;;   %x4o = icmp eq i64 %x4b, 0
;;   %x4 = select i1 %x4o, ptr %p0, ptr null
;;   %x5 = ptrtoint ptr %x4 to i64
;;   %x6 = getelementptr i8, ptr %heap, i64 %x5
;;   %x7p = getelementptr i8, ptr %x6, i64 0
;;   %x7 = load i32, ptr %x7p, align 4, !tbaa !1073741824
;;   %x8 = icmp eq i32 %x7, %type1
;;   %cx1 = xor i1 %x8, false
;;   %x9 = zext i1 %cx1 to i32
;;   ret i32 %x9
;; }

;; define weak dso_local i32 @f4(ptr %vmctx, ptr %p0) #0 !dbg !24 {
;; entry:
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type1.p = getelementptr i32, ptr %types, i64 1
;;   %type1 = load i32, ptr %type1.p, align 4, !invariant.load !0
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %heap.p = getelementptr i8, ptr %store, i64 56
;;   %heap = load ptr, ptr %heap.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x3 = ptrtoint ptr %p0 to i64
;;   %x4 = getelementptr i8, ptr %heap, i64 %x3
;;   %x5p = getelementptr i8, ptr %x4, i64 0
;;   %x5 = load i32, ptr %x5p, align 4, !tbaa !1073741824
;;   %x6 = icmp eq i32 %x5, %type1
;;   %cx1 = xor i1 %x6, false
;;   %x7 = zext i1 %cx1 to i32
;;   ret i32 %x7
;; }

;; define weak dso_local ptr @f5(ptr %vmctx, ptr %p0) #0 !dbg !25 {
;; entry:
;;   %types.p = getelementptr i8, ptr %vmctx, i64 32
;;   %types = load ptr, ptr %types.p, align 8, !invariant.load !0
;;   %type0.p = getelementptr i32, ptr %types, i64 0
;;   %type0 = load i32, ptr %type0.p, align 4, !invariant.load !0
;;   %store.p = getelementptr i8, ptr %vmctx, i64 8
;;   %store = load ptr, ptr %store.p, align 8, !invariant.load !0
;;   %heap.p = getelementptr i8, ptr %store, i64 56
;;   %heap = load ptr, ptr %heap.p, align 8, !invariant.load !0
;;   br label %start
;; start:
;;   %x3 = ptrtoint ptr %p0 to i64
;;   %x4b = and i64 %x3, 3
;;   %x4o = icmp eq i64 %x4b, 0
;;   %x4 = select i1 %x4o, ptr %p0, ptr null
;;   %x5 = ptrtoint ptr %x4 to i64
;;   %x6 = getelementptr i8, ptr %heap, i64 %x5
;;   %x7p = getelementptr i8, ptr %x6, i64 0
;;   %x7 = load i32, ptr %x7p, align 4, !tbaa !1073741824
;;   %x8o = zext i32 %x7 to i64
;;   %x8d = getelementptr i8, ptr %heap, i64 %x8o
;;   %x8p = getelementptr i8, ptr %x8d, i64 20
;;   %x8 = load i32, ptr %x8p, align 4, !tbaa !2
;;   %x9 = icmp eq i32 %x8, %type0
;;   %x2n = icmp eq ptr %p0, null
;;   %x2 = or i1 %x2n, %x9
;;   %cx1 = xor i1 %x2, true
;;   br i1 %cx1, label %t11, label %k10, !prof !3
;; k10:
;;   ret ptr %p0
;; t11:
;;   call void asm sideeffect "", "~{memory}"(), !dbg !DILocation(line: 130, scope: !25)
;;   call void @llvm.ubsantrap(i8 16) #1, !dbg !DILocation(line: 130, scope: !25)
;;   unreachable
;; }
