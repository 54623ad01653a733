with

final as (

    select
        ordering,
        split,
        unseen_count,
        str_count,
        automated_ratio,
        unseen_ratio,
        unseen_low_ratio,
        unseen_high_ratio
    from {{ source('segments', 'policy_curve') }}

)

select * from final
