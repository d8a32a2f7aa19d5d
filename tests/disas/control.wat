;; Joins and phis: one entry per edge, also for a br_table that names a label twice; loop parameters.
(module
  (func (param i32) (result i32)
    (block $a (result i32)
      (block $b (result i32)
        (br_table $a $b $a (i32.const 7) (local.get 0)))
      (i32.add (i32.const 1))))
  (func (param i32) (result i32)
    (local.get 0)
    (loop $l (param i32) (result i32)
      (i32.sub (i32.const 1))
      (br_if $l (i32.gt_u (local.get 0) (i32.const 5))))))

;;; IR
;; define weak dso_local i32 @f0(ptr %vmctx, i32 %p0) #0 !dbg !20 {
;; entry:
;;   br label %start
;; start:
;;   switch i32 %p0, label %j3 [ i32 0, label %j3 i32 1, label %b2 ]
;; j3:
;;   br label %b1
;; b2:
;;   %b2.0 = phi i32 [ 7, %start ]
;;   %v1 = add i32 %b2.0, 1
;;   br label %b1
;; b1:
;;   %b1.0 = phi i32 [ 7, %j3 ], [ %v1, %b2 ]
;;   ret i32 %b1.0
;; }

;; define weak dso_local i32 @f1(ptr %vmctx, i32 %p0) #0 !dbg !21 {
;; entry:
;;   %l0 = alloca i32
;;   store i32 %p0, ptr %l0
;;   br label %start
;; start:
;;   br label %b1
;; b1:
;;   %b1.0 = phi i32 [ %p0, %start ], [ %v1, %b1 ]
;;   %v1 = sub i32 %b1.0, 1
;;   %x2 = load i32, ptr %l0
;;   %c2 = icmp ugt i32 %x2, 5
;;   br i1 %c2, label %b1, label %n3
;; n3:
;;   ret i32 %v1
;; }
